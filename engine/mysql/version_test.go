package mysql

import (
	"errors"
	"strings"
	"testing"
)

func TestParseProgramVersion(t *testing.T) {
	for _, c := range []struct {
		out    string
		flavor *Flavor
		want   Version
		says   string
	}{
		{"mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", MariaDB, Version{10, 11, 19}, "10.11.19-MariaDB-0+deb12u1"},
		{"/usr/sbin/mysqld  Ver 11.8.9-MariaDB-ubu2404 for debian-linux-gnu", MariaDB, Version{11, 8, 9}, "11.8.9-MariaDB-ubu2404"},
		{"/usr/sbin/mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL), Release 28)", MySQL, Version{8, 0, 36}, "8.0.36-28"},
		{"mysqld.bin  Ver 9.7.4-2 for Linux on x86_64 ((Debian))\n", MySQL, Version{9, 7, 4}, "9.7.4-2"},
		{"mysqld  Ver 5.6.51 for Linux on x86_64", MySQL, Version{5, 6, 51}, "5.6.51"},
	} {
		flavor, version, says, ok := parseProgramVersion(c.out)
		if !ok || flavor != c.flavor || version != c.want || says != c.says {
			t.Errorf("%q: %v %v %q %v", c.out, flavor.Name, version, says, ok)
		}
	}
	for _, out := range []string{"", "Ver", "postgres (PostgreSQL) 15.18", "Ver x.y for Linux"} {
		if _, _, _, ok := parseProgramVersion(out); ok {
			t.Errorf("%q is taken for a version", out)
		}
	}
}

func TestAdmit(t *testing.T) {
	for _, c := range []struct {
		flavor  *Flavor
		version Version
		warns   string
		refused bool
	}{
		{MariaDB, Version{10, 3, 39}, "", true},
		{MariaDB, Version{10, 4, 0}, "older", false},
		{MariaDB, Version{10, 5, 29}, "older", false},
		{MariaDB, Version{10, 6, 0}, "", false},
		{MariaDB, Version{10, 11, 19}, "", false},
		{MariaDB, Version{11, 8, 9}, "", false},
		{MariaDB, Version{12, 0, 1}, "newer", false},
		{MySQL, Version{5, 6, 51}, "", true},
		{MySQL, Version{5, 7, 44}, "older", false},
		{MySQL, Version{8, 0, 11}, "", false},
		{MySQL, Version{8, 4, 6}, "", false},
		{MySQL, Version{9, 7, 4}, "", false},
		{MySQL, Version{9, 8, 0}, "newer", false},
	} {
		warning, err := c.flavor.admit(c.version)
		if c.refused != errors.Is(err, ErrTooOld) || !strings.Contains(warning, c.warns) || c.warns == "" && warning != "" {
			t.Errorf("%s %s: warning %q, error %v", c.flavor.Name, c.version, warning, err)
		}
	}
	_, err := MySQL.admit(Version{5, 6, 51})
	for _, part := range []string{"5.6.51", "upgrade to MySQL 5.7 first", "8.0 to 9.7"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

func TestVersionOfID(t *testing.T) {
	for id, want := range map[uint32]Version{101119: {10, 11, 19}, 90704: {9, 7, 4}, 80036: {8, 0, 36}, 50651: {5, 6, 51}} {
		if got := versionOfID(id); got != want {
			t.Errorf("%d: %v", id, got)
		}
	}
}
