package postgres

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestParseVersion(t *testing.T) {
	tests := []struct {
		text    string
		version string
		major   int
	}{
		{"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18", 15},
		{"postgres (PostgreSQL) 18beta1\n", "18beta1", 18},
		{"postgres (PostgreSQL) 9.6.24", "9.6.24", 9},
		{"postgres (EnterpriseDB) 1", "", 0},
		{"postgres (PostgreSQL) ", "", 0},
		{"", "", 0},
	}
	for _, test := range tests {
		version, major, err := parseVersion(test.text)
		if version != test.version || major != test.major || (err == nil) != (test.major != 0) {
			t.Errorf("%q: %q, %d, %v", test.text, version, major, err)
		}
	}
}

func TestChoiceOfPrograms(t *testing.T) {
	of := func(majors ...int) (found []programs) {
		for _, major := range majors {
			found = append(found, programs{major: major, version: "x"})
		}
		return found
	}
	for _, test := range []struct {
		found []programs
		want  int // 0: refused
	}{
		{of(17, 15), 17}, {of(19, 15), 15}, {of(19), 19}, {of(12, 10), 12}, {of(10), 0}, {of(9), 0},
	} {
		p, err := newest(test.found)
		if p.major != test.want || (test.want == 0) != errors.Is(err, ErrDeprecated) {
			t.Errorf("newest of %v: %v, %v", test.found, p, err)
		}
	}
	for _, test := range []struct {
		found []programs
		major int
		want  error
	}{
		{of(17, 15), 15, nil}, {of(17, 15), 17, nil}, {of(17, 15), 16, ErrOtherVersion}, {of(12), 12, nil}, {of(10), 10, ErrDeprecated}, {of(15), 9, ErrDeprecated},
	} {
		p, err := matching(test.found, test.major, "/data")
		if !errors.Is(err, test.want) || err == nil && p.major != test.major {
			t.Errorf("%d of %v: %v, %v", test.major, test.found, p, err)
		}
	}
}

func TestDataVersion(t *testing.T) {
	write := func(name, content string) string {
		dir := t.TempDir()
		if name != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	tests := []struct {
		dir   string
		major int
		wrong string
	}{
		{write("PG_VERSION", "15\n"), 15, ""},
		{write("PG_VERSION", "9.6\n"), 9, ""},
		{write("PG_VERSION", ""), 0, "holds no version"},
		{write("notes", "x"), 0, "move it away"},
		{write("", ""), 0, ""},
		{"/nowhere/at/all", 0, ""},
	}
	for _, test := range tests {
		major, err := dataVersion(test.dir)
		if major != test.major || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %d, %v", test.dir, major, err)
		}
	}
}

func TestParsePostmaster(t *testing.T) {
	tests := []struct {
		text   string
		pid    int
		status string
	}{
		{"4242\n/d\n1700000000\n5432\n/run\n\n  123   456\nready   \n", 4242, "ready"},
		{"4242\n/d\n1700000000\n5432\n/run\n\n  123   456\nstarting\n", 4242, "starting"},
		{"4242\n/d\n1700000000\n", 4242, ""},
		{"-77\n/d\n", 0, ""}, // a server without connections
		{"", 0, ""},
		{"x\n", 0, ""},
	}
	for _, test := range tests {
		if pid, status := parsePostmaster(test.text); pid != test.pid || status != test.status {
			t.Errorf("%q: %d, %q", test.text, pid, status)
		}
	}
}

func FuzzParsePostmaster(f *testing.F) {
	f.Add("4242\n/d\n1700000000\n5432\n/run\n\n  123   456\nready   \n")
	f.Fuzz(func(t *testing.T, text string) {
		if pid, _ := parsePostmaster(text); pid < 0 {
			t.Errorf("process %d", pid)
		}
	})
}

func TestCheckParameters(t *testing.T) {
	tests := []struct {
		name, value, wrong string
	}{
		{"random_page_cost", "1.1", ""},
		{"auto_explain.log_min_duration", "1s", ""},
		{"TimeZone", "Europe/Berlin", ""},
		{"shared_preload_libraries", "pg_stat_statements", ""},
		{"synchronous_commit", "off", ""}, // a session may set it too
		{"max_connections", "10", "connections.ceilings"},
		{"Max_Connections", "10", "connections.ceilings"},
		{"shared_buffers", "1GB", "min_capacity"},
		{"work_mem", "1GB", "ALTER ROLE"},
		{"listen_addresses", "*", "only the endpoint"},
		{"hba_file", "/x", "serverlessproxy sets it"},
		{"include", "/x", "serverlessproxy sets it"},
		{"fsync", "off", "must stay on"},
		{"fsync", "no", "must stay on"},
		{"fsync", "0", "must stay on"},
		{"fsync", "F", "must stay on"},
		{"fsync", "on", ""},
		{"fsync", "t", ""},
		{"fsync", "yes", ""},
		{"full_page_writes", "false", "must stay on"},
		{"zero_damaged_pages", "on", "must stay off"},
		{"zero_damaged_pages", "of", ""},
		{"bad name", "1", "no parameter"},
		{"x\nfsync", "off", "no parameter"},
		{"a..b", "1", "no parameter"},
		{"search_path", "a\x00b", "zero byte"},
	}
	for _, test := range tests {
		err := CheckParameters(map[string]string{test.name: test.value})
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s = %q: %v", test.name, test.value, err)
		}
	}
	all := CheckParameters(map[string]string{"port": "1", "fsync": "off", "ssl": "on", "jit": "off"})
	if n := strings.Count(all.Error(), "parameters."); n != 3 {
		t.Errorf("%d mistakes of 3 told: %v", n, all)
	}
}

func TestSettingsOfASize(t *testing.T) {
	tests := []struct {
		memory, machine              int64
		buffers, cache, maintain, wk string
	}{
		{2 * giB, 24 * giB, "262144kB", "1572864kB", "131072kB", "4096kB"},
		{4 * giB, 24 * giB, "524288kB", "3145728kB", "262144kB", "4096kB"},
		{32 * giB, 24 * giB, "4194304kB", "18874368kB", "1572864kB", "24576kB"},
		{512 * giB, 24 * giB, "6291456kB", "18874368kB", "1572864kB", "24576kB"},
		{512 * giB, 1024 * giB, "67108864kB", "402653184kB", "2097152kB", "65536kB"},
		{0, 24 * giB, "32768kB", "65536kB", "65536kB", "4096kB"},
	}
	for _, test := range tests {
		size := acu.Size{Memory: test.memory, MaxConnections: 100}
		got := map[string]string{}
		for _, s := range append(capacity(size, test.machine), memory(size, test.machine)...) {
			got[s.name] = s.value
		}
		want := map[string]string{"shared_buffers": test.buffers, "effective_cache_size": test.cache, "maintenance_work_mem": test.maintain, "work_mem": test.wk, "max_connections": "100"}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%d of %d: %s = %s, want %s", test.memory, test.machine, name, got[name], value)
			}
		}
	}
}

func TestConfigFile(t *testing.T) {
	place := process.Place{Data: `/v/it's`, Run: "/r"}
	got := configFile(place, []setting{{"work_mem", "4096kB"}}, map[string]string{"b.c": "two\nlines", "a": `\'`})
	want := `# Written by serverlessproxy at each start: change the cluster's parameters instead.
include_if_exists = '/v/it''s/db/postgresql.conf'
work_mem = '4096kB'
a = '\\'''
b.c = 'two\nlines'
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestServeWithoutProgramsNamesOne(t *testing.T) {
	e := New(Config{BinDir: t.TempDir(), Log: quiet})
	if c := e.Serve(process.Place{}, small); !strings.HasSuffix(c.Path, "/postgres") {
		t.Errorf("%q", c.Path)
	}
}

func TestScramVerifier(t *testing.T) {
	one, err := scramVerifier("x")
	if err != nil {
		t.Fatal(err)
	}
	two, _ := scramVerifier("x")
	if one == two || !strings.HasPrefix(one, "SCRAM-SHA-256$4096:") {
		t.Errorf("%s, %s", one, two)
	}
	if _, err := scramVerifier(credential.Secret("bell \a and \xff")); err != nil {
		t.Errorf("a password that cannot be normalised is taken as it is: %v", err)
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	err := checkMaster(process.Master{User: "pg_x", Database: "d", Password: "s3cret"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

func TestWarnsOnceOfAnUnsupportedVersion(t *testing.T) {
	var log strings.Builder
	e := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, major := range []int{12, 12, 13, 18, 19} {
		e.warn(programs{major: major})
	}
	if n := strings.Count(log.String(), "not supported"); n != 2 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}
