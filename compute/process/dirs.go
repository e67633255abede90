package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// db is the engine's data directory inside the volume.
func (p Place) db() string { return filepath.Join(p.Data, "db") }

// becomes tells whether an engine of this place runs as another user than the
// proxy does.
func (p Place) becomes() bool { return os.Geteuid() == 0 && p.UID != 0 }

// prepare makes sure that the volume and the run directory are there, the
// engine's user's own and closed to everybody else.
func (p Place) prepare() error {
	for _, dir := range []string{p.Data, p.Run} {
		if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := p.own(dir); err != nil {
			return err
		}
	}
	return p.own(filepath.Join(p.Data, "log"))
}

// own makes a directory of the engine's user, mode 0700, or makes one that
// exists so.
func (p Place) own(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("make directory %s: there is something else of that name; move it away", dir)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("close directory to others: %w", err)
		}
	}
	if p.becomes() {
		if err := os.Lchown(dir, p.UID, p.GID); err != nil {
			return fmt.Errorf("give directory to the engine's user: %w", err)
		}
	}
	return nil
}

// giveRoot gives a file of root to the engine's user.
func giveRoot(root *os.Root, name string, at Place) error {
	if !at.becomes() {
		return nil
	}
	return root.Lchown(name, at.UID, at.GID)
}

// clean removes what a dead server left in the run directory (its socket, its
// locks) and the litter that the engine names. The caller knows that no server
// runs.
func (p Place) clean(litter []string) error {
	entries, err := os.ReadDir(p.Run)
	if err != nil {
		return fmt.Errorf("clean run directory: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type()&fs.ModeSocket != 0 || strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".pid") {
			litter = append(litter, filepath.Join(p.Run, name))
		}
	}
	for _, path := range litter {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what a dead server left: %w", err)
		}
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
