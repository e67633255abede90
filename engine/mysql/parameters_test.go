package mysql

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckParameters(t *testing.T) {
	for name, c := range map[string]struct {
		parameters map[string]string
		mistakes   []string // nil: accepted
	}{
		"none":            {nil, nil},
		"ordinary ones":   {map[string]string{"sql_mode": "ANSI", "wait-timeout": "60", "skip_name_resolve": "ON", "event_scheduler": "ON", "log_bin": "ON", "innodb_page_size": "8k"}, nil},
		"of the capacity": {map[string]string{"max_connections": "5", "innodb-buffer-pool-size": "1G"}, []string{"max_connections", "innodb-buffer-pool-size", byCapacity}},
		"of the proxy":    {map[string]string{"Port": "3306", "skip-networking": "OFF", "loose_socket": "/x", "skip_grant_tables": "1", "init_file": "/x"}, []string{"Port", "skip-networking", "loose_socket", "skip_grant_tables", "init_file", byProxy}},
		"of the volume":   {map[string]string{"tmpdir": "/tmp", "log_bin": "/var/log/bin", "slow_query_log_file": "x"}, []string{"tmpdir", "log_bin", "slow_query_log_file", byVolume}},
		"no names":        {map[string]string{"a b": "1", "x=1 --port": "2", "": "", "-x": ""}, []string{`"a b"`, `"x=1 --port"`, `""`, `"-x"`}},
		"a line break":    {map[string]string{"init_connect": "a\nb"}, []string{"init_connect"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckParameters(c.parameters)
			if c.mistakes == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range c.mistakes {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
		})
	}
	if err := CheckParameters(map[string]string{"port": "1"}); !errors.Is(err, ErrRuled) {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	parameters := map[string]string{"wait_timeout": "60", "innodb_page_size": "8k", "sql_mode": ""}
	if got := options(parameters); !slices.Equal(got, []string{"--innodb_page_size=8k", "--sql_mode=", "--wait_timeout=60"}) {
		t.Errorf("options: %q", got)
	}
	if got := birthOptions(parameters); !slices.Equal(got, []string{"--innodb_page_size=8k"}) {
		t.Errorf("birthOptions: %q", got)
	}
	if len(parameters) != 3 {
		t.Error("birthOptions changed the parameters")
	}
}

func TestBufferPool(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct{ memory, machine, want int64 }{
		{2 * gib, 0, 1536 * mebibyte},
		{2 * gib, 24 * gib, 1536 * mebibyte},
		{512 * gib, 24 * gib, 6 * gib},
		{2 * gib, 1 * gib, 256 * mebibyte},
		{0, 24 * gib, smallestPool},
		{2*gib + 5, 0, 1536 * mebibyte},
	} {
		if got := bufferPool(c.memory, c.machine); got != c.want {
			t.Errorf("%d of %d: %d", c.memory, c.machine, got)
		}
	}
}
