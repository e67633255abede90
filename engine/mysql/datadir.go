package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// contents is what a data directory turned out to be. No flavor: it is empty.
type contents struct {
	directory string
	flavor    *Flavor
	version   Version
}

// inspect finds out whose data a directory holds, from the files in which each
// server keeps its version.
func inspect(directory string) (contents, error) {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return contents{}, nil
	}
	if err != nil {
		return contents{}, fmt.Errorf("read data directory: %w", err)
	}
	for _, flavor := range flavors {
		if version, ok := flavor.dataVersion(directory); ok {
			return contents{directory, flavor, version}, nil
		}
	}
	return contents{}, fmt.Errorf("%w: %s is not empty, and neither MariaDB nor MySQL made it; move it away, or name another data_dir",
		ErrUnknownData, directory)
}

// servableBy tells whether a server may be started on these data. A server of
// another series would convert them, with no way back.
func (c contents) servableBy(programs Programs) error {
	newer := programs.Version.before(c.version)
	if c.flavor == programs.Flavor && c.version.Series() == programs.Version.Series() && (!newer || c.flavor.patchDown) {
		return nil
	}
	return fmt.Errorf("%w: %s is of %s %s, but %s is %s %s; install %s %s (or name its folder as bin_dir), or dump the data there and restore them into a new cluster",
		ErrOtherVersion, c.directory, c.flavor.Name, c.version, programs.Server, programs.Flavor.Name, programs.Version,
		c.flavor.Name, c.version.Series())
}

// dataVersionOfMariaDB: its upgrade program records the version, and so does
// every .frm file in the header; the accounts' table is there from 10.4 on.
func dataVersionOfMariaDB(directory string) (Version, bool) {
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		text, err := os.ReadFile(filepath.Join(directory, name))
		if err == nil && strings.Contains(string(text), "MariaDB") {
			return parseVersion(string(text))
		}
	}
	id, ok := numberAt(filepath.Join(directory, "mysql", "global_priv.frm"), 51, binary.LittleEndian)
	return versionOfID(id), ok
}

// dataVersionOfMySQL: from 8.0 on the dictionary's tablespace carries the
// server's version in its first page; before, the .frm file of the accounts.
func dataVersionOfMySQL(directory string) (Version, bool) {
	id, ok := numberAt(filepath.Join(directory, "mysql.ibd"), 8, binary.BigEndian)
	if !ok {
		id, ok = numberAt(filepath.Join(directory, "mysql", "user.frm"), 51, binary.LittleEndian)
	}
	return versionOfID(id), ok
}

func numberAt(path string, offset int64, order binary.ByteOrder) (uint32, bool) {
	file, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	var number [4]byte
	if _, err := io.ReadFull(io.NewSectionReader(file, offset, 4), number[:]); err != nil {
		return 0, false
	}
	return order.Uint32(number[:]), true
}
