package mysql

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

func script(says string) string { return "#!/bin/sh\necho '" + says + "'\n" }

var (
	fakeMariaDB = script("mariadbd  Ver 10.11.19-MariaDB for debian-linux-gnu on x86_64")
	fakeMySQL   = script("mysqld  Ver 9.7.4-2 for Linux on x86_64")
)

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		accept []*Flavor
		server string // "": an error that holds the words
		words  []string
	}{
		"MariaDB before MySQL":    {map[string]string{"bin/mysqld": fakeMySQL, "bin/mariadbd": fakeMariaDB, "bin/mariadb-install-db": ""}, flavors, "bin/mariadbd", nil},
		"MariaDB as mysqld":       {map[string]string{"bin/mysqld": fakeMariaDB, "bin/mysql_install_db": ""}, flavors, "bin/mysqld", nil},
		"the server in sbin":      {map[string]string{"sbin/mysqld": fakeMySQL, "bin/x": ""}, flavors, "sbin/mysqld", nil},
		"MySQL alone":             {map[string]string{"bin/mysqld": fakeMySQL}, []*Flavor{MySQL}, "bin/mysqld", nil},
		"not the one asked for":   {map[string]string{"bin/mysqld": fakeMySQL}, []*Flavor{MariaDB}, "", []string{"is MySQL", "apt-get install mariadb-server", "bin_dir"}},
		"nothing to fill it with": {map[string]string{"bin/mariadbd": fakeMariaDB}, []*Flavor{MariaDB}, "", []string{"mariadb-install-db"}},
		"nothing":                 {map[string]string{"bin/x": ""}, flavors, "", []string{"no MariaDB or MySQL"}},
		"no version":              {map[string]string{"bin/mysqld": script("hello")}, flavors, "", []string{`"hello"`}},
		"one that fails":          {map[string]string{"bin/mysqld": "#!/bin/sh\necho no library >&2; exit 127"}, flavors, "", []string{"no library"}},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := put(t, c.files)
			programs, err := find(t.Context(), filepath.Join(prefix, "bin"), c.accept)
			if c.server != "" {
				if err != nil || programs.Server != filepath.Join(prefix, c.server) {
					t.Errorf("%+v, %v", programs, err)
				}
				return
			}
			if !errors.Is(err, ErrNoServer) {
				t.Fatalf("%+v, %v", programs, err)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in %q", word, err)
				}
			}
		})
	}
}

func TestFlavorsAreServedAsData(t *testing.T) {
	share := map[string]string{"share/mysql/english/errmsg.sys": "", "share/mysql/charsets/x": "", "lib/mysql/plugin/metadata_lock_info.so": "", "bin/mariadb-install-db": ""}
	for name, c := range map[string]struct {
		server              string
		initialize, serving []string // relative to the installation where they begin with @
		absent              string
	}{
		"MariaDB": {fakeMariaDB,
			[]string{"--no-defaults", "--auth-root-authentication-method=socket", "--skip-test-db", "--datadir=/v/db", "--basedir=@", "--innodb_page_size=8k"},
			[]string{"--no-defaults", "--datadir=/v/db", "--tmpdir=/v/tmp", "--socket=/r/mysqld.sock", "--pid-file=/r/mysqld.pid", "--skip-networking",
				"--init-file=/r/control.sql", "--max-connections=98", "--innodb-buffer-pool-size=268435456", "--proxy-protocol-networks=localhost",
				"--character-set-server=utf8mb4", "--lc-messages-dir=@/share/mysql", "--plugin-dir=@/lib/mysql/plugin", "--wait_timeout=60", "--plugin-load-add=metadata_lock_info"},
			"mysqlx"},
		"MySQL": {fakeMySQL,
			[]string{"--no-defaults", "--initialize-insecure", "--datadir=/v/db", "--lc-messages-dir=@/share/mysql", "--secure-file-priv=NULL", "--innodb_page_size=8k"},
			[]string{"--loose-mysqlx=OFF", "--skip-networking", "--skip-log-bin", "--secure-file-priv=NULL", "--lc-messages-dir=@/share/mysql",
				"--character-sets-dir=@/share/mysql/charsets", "--max-connections=98"},
			"proxy-protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			share["bin/mysqld"] = c.server
			prefix := put(t, share)
			engine := New(Config{BinDir: filepath.Join(prefix, "bin"), Log: quiet, Parameters: map[string]string{"wait_timeout": "60", "innodb_page_size": "8k"}})
			p := process.Place{Data: "/v", Run: "/r"}
			initialize := engine.Initialize(p)
			serve := engine.Serve(p, acu.Size{Memory: 2 << 30, MaxConnections: 98})
			for _, want := range c.initialize {
				if want = strings.ReplaceAll(want, "@", prefix); !slices.Contains(initialize.Args, want) {
					t.Errorf("Initialize lacks %s: %q", want, initialize.Args)
				}
			}
			for _, want := range c.serving {
				if want = strings.ReplaceAll(want, "@", prefix); !slices.Contains(serve.Args, want) {
					t.Errorf("Serve lacks %s: %q", want, serve.Args)
				}
			}
			if all := fmt.Sprint(serve.Args); strings.Contains(all, c.absent) {
				t.Errorf("Serve has %s: %s", c.absent, all)
			}
			if last := serve.Args[len(serve.Args)-1]; last != "--wait_timeout=60" {
				t.Errorf("the operator's settings do not come last: %s", last)
			}
		})
	}
}

func TestServeWithoutPrograms(t *testing.T) {
	engine := New(Config{BinDir: t.TempDir(), Log: quiet})
	if c := engine.Serve(process.Place{}, acu.Size{}); c.Path != "mariadbd" {
		t.Errorf("%+v", c)
	}
	if _, err := engine.Check(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Error(err)
	}
}

func TestControlFiles(t *testing.T) {
	p := process.Place{Run: t.TempDir(), Data: t.TempDir()}
	first := controlFiles(p)
	if first[0].Name != secretName || !isSecret.MatchString(first[0].Content) || !strings.Contains(first[1].Content, "IDENTIFIED BY '"+first[0].Content+"'") {
		t.Fatalf("%q", first)
	}
	if again := controlFiles(p); again[0].Content == first[0].Content {
		t.Error("the secret is always the same")
	}
	for _, c := range []struct {
		found string
		kept  bool
	}{{first[0].Content, true}, {"", false}, {"x'; DROP DATABASE app; --", false}, {strings.Repeat("A", 20), false}} {
		p.Run = put(t, map[string]string{secretName: c.found})
		if got := controlFiles(p)[0].Content; (got == c.found) != c.kept {
			t.Errorf("%q became %q", c.found, got)
		}
	}
}
