package mysql

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put makes files below a new directory.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func at(offset int, order binary.ByteOrder, id uint32) string {
	b := make([]byte, offset+4)
	order.PutUint32(b[offset:], id)
	return string(b)
}

func TestInspect(t *testing.T) {
	frm := func(id uint32) string { return at(51, binary.LittleEndian, id) }
	ibd := func(id uint32) string { return at(8, binary.BigEndian, id) }
	for name, c := range map[string]struct {
		files   map[string]string
		flavor  *Flavor
		version Version
		unknown bool
	}{
		"empty":                  {},
		"MariaDB 10.11":          {map[string]string{"mysql_upgrade_info": "10.11.19-MariaDB", "ibdata1": ""}, MariaDB, Version{10, 11, 19}, false},
		"MariaDB 11.8":           {map[string]string{"mariadb_upgrade_info": "11.8.9-MariaDB\n", "ibdata1": ""}, MariaDB, Version{11, 8, 9}, false},
		"MariaDB, no record":     {map[string]string{"mysql/global_priv.frm": frm(100618)}, MariaDB, Version{10, 6, 18}, false},
		"MySQL 9.7":              {map[string]string{"mysql.ibd": ibd(90704), "mysql_upgrade_history": "{}"}, MySQL, Version{9, 7, 4}, false},
		"MySQL 8.0":              {map[string]string{"mysql.ibd": ibd(80036)}, MySQL, Version{8, 0, 36}, false},
		"MySQL 5.6":              {map[string]string{"mysql/user.frm": frm(50651), "mysql_upgrade_info": "5.6.51"}, MySQL, Version{5, 6, 51}, false},
		"something else":         {map[string]string{"PG_VERSION": "15"}, nil, Version{}, true},
		"a truncated tablespace": {map[string]string{"mysql.ibd": "x"}, nil, Version{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := inspect(put(t, c.files))
			if c.unknown != errors.Is(err, ErrUnknownData) || got.flavor != c.flavor || got.version != c.version {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if got, err := inspect(filepath.Join(t.TempDir(), "absent")); err != nil || got.flavor != nil {
		t.Errorf("absent: %+v, %v", got, err)
	}
}

func TestServableBy(t *testing.T) {
	for name, c := range map[string]struct {
		data contents
		by   Programs
		ok   bool
	}{
		"the same":                    {contents{"d", MariaDB, Version{10, 11, 19}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, true},
		"an older patch":              {contents{"d", MariaDB, Version{10, 11, 2}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, true},
		"MariaDB, a newer patch":      {contents{"d", MariaDB, Version{10, 11, 19}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 2}}, true},
		"MySQL, a newer patch":        {contents{"d", MySQL, Version{8, 4, 6}}, Programs{Flavor: MySQL, Version: Version{8, 4, 5}}, false},
		"MySQL, an older patch":       {contents{"d", MySQL, Version{8, 0, 30}}, Programs{Flavor: MySQL, Version: Version{8, 0, 36}}, true},
		"an older series":             {contents{"d", MariaDB, Version{10, 6, 18}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, false},
		"a newer series":              {contents{"d", MariaDB, Version{11, 8, 9}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, false},
		"the other flavor's":          {contents{"d", MySQL, Version{8, 0, 36}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, false},
		"the other's, equal numbers":  {contents{"d", MySQL, Version{10, 11, 19}}, Programs{Flavor: MariaDB, Version: Version{10, 11, 19}}, false},
		"an innovation release after": {contents{"d", MySQL, Version{9, 6, 0}}, Programs{Flavor: MySQL, Version: Version{9, 7, 0}}, false},
	} {
		err := c.data.servableBy(c.by)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrOtherVersion) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (!strings.Contains(err.Error(), c.data.version.String()) || !strings.Contains(err.Error(), c.by.Version.String())) {
			t.Errorf("%s: %q does not name both versions", name, err)
		}
	}
}
