package process_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serverlessproxy/compute/process"
	"serverlessproxy/engine/postgres"
)

func TestStartSaysWhyNot(t *testing.T) {
	at := filled(t)
	tests := []struct {
		name   string
		engine process.Engine
		spoil  func(t *testing.T)
		want   error
		says   string
	}{
		{"bad value", engine(map[string]string{"wal_level": "nonsense"}), nil, process.ErrEnded, `invalid value for parameter "wal_level": "nonsense"`},
		{"unknown parameter", engine(map[string]string{"wall_level": "replica"}), nil, process.ErrEnded, `unrecognized configuration parameter "wall_level"`},
		{"damaged data", engine(nil), func(t *testing.T) { hide(t, at.Data+"/db/global/pg_control") }, process.ErrEnded, "could not find the database system"},
		{"other version", engine(nil), func(t *testing.T) { replace(t, at.Data+"/db/PG_VERSION", "99\n") }, postgres.ErrOtherVersion, "install postgresql-99"},
		{"deprecated version", engine(nil), func(t *testing.T) { replace(t, at.Data+"/db/PG_VERSION", "9.6\n") }, postgres.ErrDeprecated, "first upgrade it"},
		{"no version", engine(nil), func(t *testing.T) { hide(t, at.Data+"/db/PG_VERSION") }, nil, "no data directory of PostgreSQL"},
		{"no data", engine(nil), func(t *testing.T) { hide(t, at.Data+"/db") }, process.ErrNoData, "nothing is made in its place"},
		{"no programs", postgres.New(postgres.Config{BinDir: at.Run, Log: quiet}), nil, postgres.ErrNoPrograms, "install the package postgresql"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.spoil != nil {
				test.spoil(t)
			}
			began := time.Now()
			_, err := with(at, test.engine).Start(limited(t), small)
			if err == nil {
				t.Fatal("it started")
			}
			if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v to say so", took)
			}
			if left := within(filepath.Dir(at.Data)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	// Nothing that failed has harmed the data.
	query(t, dial(t, start(t, compute(at))), "select 'well'")
}

// hide moves a file away for the time of a test.
func hide(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path, path+".hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.RemoveAll(path)
		if err := os.Rename(path+".hidden", path); err != nil {
			t.Error(err)
		}
	})
}

// replace changes what is in a file for the time of a test.
func replace(t *testing.T, path, content string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, before, 0o600) })
}

// Locks of a server that was killed do not stand in the way, even if their
// process is by now another one, and neither does a stale socket.
func TestStaleLocks(t *testing.T) {
	at := filled(t)
	if err := os.Mkdir(at.Run, 0o700); err != nil {
		t.Fatal(err)
	}
	stale := []byte("1\n" + at.Data + "/db\n1700000000\n5432\n" + at.Run + "\n\n  0 0\nready\n")
	_, socket := engine(nil).Address(at)
	for _, path := range []string{at.Data + "/db/postmaster.pid", socket + ".lock"} {
		if err := os.WriteFile(path, stale, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = dead.Close()
	forged := `{"pid":1,"started":1,"boot":"","program":"/sbin/init"}`
	if err := os.WriteFile(at.Run+"/engine.json", []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	query(t, dial(t, start(t, compute(at))), "select 'well'")
}

func TestCreateIsAllOrNothing(t *testing.T) {
	t.Run("nothing was there", func(t *testing.T) {
		at := room(t)
		_, err := compute(at).Create(limited(t), process.Master{User: "pg_app", Database: "app", Password: "x"})
		if err == nil || !strings.Contains(err.Error(), "pg_") {
			t.Errorf("%v", err)
		}
		if _, err := os.Lstat(filepath.Dir(at.Data)); err == nil {
			t.Error("directories were left behind")
		}
	})
	t.Run("an empty volume was there", func(t *testing.T) {
		at := room(t)
		if err := os.MkdirAll(at.Data, 0o755); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if _, err := with(at, slow{engine(nil), cancel}).Create(ctx, master); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if left := within(at.Data); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		entries, err := os.ReadDir(at.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "log" {
				t.Errorf("%s was left behind", entry.Name())
			}
		}
		// Trying again later works, also over what a killed proxy left.
		if err := os.MkdirAll(at.Data+"/.creating/db", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at.Data+"/.creating/db/PG_VERSION", []byte("15\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := compute(at)
		if created, err := c.Create(limited(t), master); err != nil || !created {
			t.Fatalf("%v, %v", created, err)
		}
		if _, err := os.Lstat(at.Data + "/.creating"); err == nil {
			t.Error("the place of making was left behind")
		}
		query(t, dial(t, start(t, c)), "select 'well'")
	})
}

// slow takes longer to initialize than anybody waits.
type slow struct {
	process.Engine
	cancel func()
}

func (s slow) Initialize(process.Place) process.Command {
	time.AfterFunc(200*time.Millisecond, s.cancel)
	return process.Command{Path: "/bin/sh", Args: []string{"-c", "sleep 600 & sleep 600"}}
}

func TestPreflight(t *testing.T) {
	at := room(t)
	base := filepath.Dir(filepath.Dir(at.Data))
	closed := filepath.Join(base, "closed")
	if err := os.Mkdir(closed, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(base, strings.Repeat("x", 100))
	tests := []struct {
		name       string
		place      process.Place
		engine     process.Engine
		finding    string
		says       string
		permission bool
	}{
		{"a closed directory above", process.Place{Data: closed + "/c/data", Run: closed + "/c/run", UID: at.UID, GID: at.GID}, engine(nil), "permission", "chmod o+x " + closed, true},
		{"as root", process.Place{Data: at.Data, Run: at.Run}, engine(nil), "user", "compute.user", true},
		{"a long path", process.Place{Data: at.Data, Run: long, UID: at.UID, GID: at.GID}, engine(nil), "socket", "shorter", false},
		{"no programs", at, postgres.New(postgres.Config{BinDir: base, Log: quiet}), "engine", "bin_dir", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := with(test.place, test.engine)
			created, err := c.Create(limited(t), master)
			var failed *process.PreflightError
			if created || !errors.As(err, &failed) || len(failed.Failed) != 1 || failed.Failed[0].Name != test.finding {
				t.Fatalf("%v", err)
			}
			prefix := strings.HasPrefix(err.Error(), "Unable to create the resource. Verify that you have permission to create service linked role. Otherwise wait and try again later.")
			if !strings.Contains(err.Error(), test.says) || prefix != test.permission {
				t.Errorf("%v", err)
			}
			if _, err := os.Lstat(filepath.Dir(test.place.Data)); err == nil {
				t.Error("directories were left behind")
			}
		})
	}
	for _, finding := range compute(at).Check(limited(t)) {
		if !finding.OK {
			t.Errorf("%+v", finding)
		}
	}
}
