package postgres

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

// OwnConnections is what max_connections must leave beside the sessions that
// are admitted. reserved of them only a superuser gets: the control connection
// (1), the question whether the server is ready (1), and one for an operator
// in need. The others are room for backends whose clients have left and which
// have not quite ended.
const (
	OwnConnections = 10
	reserved       = 3
)

const (
	kiB = int64(1) << 10
	miB = int64(1) << 20
	giB = int64(1) << 30
)

// setting is one line of a configuration.
type setting struct{ name, value string }

// fixed are the settings that the proxy depends on.
func fixed(p process.Place, cluster string) []setting {
	return []setting{
		{"config_file", filepath.Join(p.Run, configName)},
		{"hba_file", filepath.Join(p.Run, hbaName)},
		{"listen_addresses", ""},
		{"port", strconv.Itoa(port)},
		{"unix_socket_directories", quoteElement(p.Run)},
		{"unix_socket_permissions", "0700"},
		{"ssl", "off"},
		{"logging_collector", "off"},
		{"log_destination", "stderr"},
		{"restart_after_crash", "on"},
		{"superuser_reserved_connections", strconv.Itoa(reserved)},
		{"cluster_name", clusterName(cluster)},
	}
}

// atStart names the settings of a size that only a restart changes.
var atStart = []string{"shared_buffers", "max_connections"}

// capacity are those settings.
func capacity(size acu.Size, machine int64) []setting {
	settings := []setting{{"shared_buffers", kilobytes(sharedBuffers(size.Memory, machine))}}
	if size.MaxConnections > 0 {
		settings = append(settings, setting{"max_connections", strconv.Itoa(max(size.MaxConnections, OwnConnections))})
	}
	return settings
}

// memory are the settings of a size that a reload changes.
func memory(size acu.Size, machine int64) []setting {
	usable := min(size.Memory, machine)
	return []setting{
		{"effective_cache_size", kilobytes(max(usable/4*3, 64*miB))},
		{"maintenance_work_mem", kilobytes(min(max(usable/16, 64*miB), 2*giB))},
		{"work_mem", kilobytes(min(max(usable/1024, 4*miB), 64*miB))},
	}
}

// sharedBuffers is an eighth of the memory, no more than a quarter of the
// machine's. PostgreSQL's own advice is a quarter for a server that stays up;
// one that sleeps loses what it holds there at each pause, while the system's
// page cache outlives it, and it takes longer to start with (about 70 ms for
// each GiB on the reference machine).
func sharedBuffers(memory, machine int64) int64 {
	return max(min(memory/8, machine/4), 32*miB)
}

func kilobytes(n int64) string { return strconv.FormatInt(n/kiB, 10) + "kB" }

// configFile is the server's configuration: what the data directory's own says
// (its time zone and the like, written by initdb), then what the size asks,
// then what the operator configured.
func configFile(p process.Place, size []setting, parameters map[string]string) string {
	var b strings.Builder
	b.WriteString("# Written by serverlessproxy at each start: change the cluster's parameters instead.\n")
	fmt.Fprintf(&b, "include_if_exists = %s\n", quote(filepath.Join(dataDir(p), "postgresql.conf")))
	for _, s := range size {
		fmt.Fprintf(&b, "%s = %s\n", s.name, quote(s.value))
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quote(parameters[name]))
	}
	return b.String()
}

var quoter = strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`, "\r", `\r`)

// quote writes a value for a configuration file.
func quote(value string) string { return "'" + quoter.Replace(value) + "'" }

// quoteElement writes an element of a setting that is a list.
func quoteElement(value string) string { return `"` + strings.ReplaceAll(value, `"`, `""`) + `"` }

// clusterName keeps what the server would keep of a name.
func clusterName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name[:min(len(name), 63)])
}
