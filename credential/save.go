package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// format is the version of a saved Book's form.
const format = 1

// saved is a Book as it lies on disk.
type saved struct {
	Format int `json:"format"`
	*Book
}

// Save writes a Book so that path holds the old one or the new one whole,
// whatever happens meanwhile, and only its owner may read it.
func Save(path string, book *Book) error {
	text, err := json.MarshalIndent(saved{format, book}, "", "  ")
	if err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	if err := replace(path, append(text, '\n')); err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	return nil
}

// replace puts text at path, durably and at once. os.CreateTemp makes the file 0600.
func replace(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has been renamed
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// Load reads a saved Book; ErrNothingSaved if there is none.
func Load(path string) (*Book, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load credentials: %w at %s; they are saved when the cluster pauses, so start it once", ErrNothingSaved, path)
	}
	if err != nil {
		return nil, fmt.Errorf("load credentials: %w", err)
	}
	read := saved{Book: &Book{}}
	if err := json.Unmarshal(text, &read); err != nil {
		// The decoder's own words may quote what it read.
		return nil, fmt.Errorf("load credentials: %w: %s is damaged; resume the cluster, and it is written anew", ErrUnreadable, path)
	}
	if read.Format > format {
		return nil, fmt.Errorf("load credentials: %w: %s", ErrUnknownFormat, path)
	}
	return read.Book, nil
}
