package process

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// VolumeBytes is what the volume at p takes on its disk. Files that vanish
// meanwhile are left out.
func VolumeBytes(p Place) (int64, error) {
	var total int64
	err := filepath.WalkDir(p.Data, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	return total, err
}
