package config

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"text/template"

	"serverlessproxy/acu"
)

// QuickstartOptions are the choices of the quickstart command. The zero value
// of each is its default.
type QuickstartOptions struct {
	Engines               []string // default: postgres and mariadb; one of each protocol
	PostgresAddress       string   // default: 127.0.0.1:5432
	MySQLAddress          string   // default: 127.0.0.1:3306
	AdminAddress          string   // default: 127.0.0.1:9630
	MinCapacity           int
	MaxCapacity           int
	SecondsUntilAutoPause int
}

//go:embed quickstart.yaml.tmpl
var quickstartText string

var quickstartFile = template.Must(template.New("quickstart").Parse(quickstartText))

// quickCluster is what the template says of one cluster.
type quickCluster struct {
	Name, Endpoint, Engine, Protocol, Address string
	Min, Max                                  acu.Capacity
	Seconds                                   int
}

// quickNames are the clusters of a quickstart, by protocol.
var quickNames = map[string]string{"postgres": "pg", "mysql": "my"}

// Quickstart is the configuration file of a quickstart: clusters pg and my
// whose passwords are in pg.password and my.password beside the file.
func Quickstart(o QuickstartOptions) ([]byte, error) {
	addresses := map[string]string{
		"postgres": cmp.Or(o.PostgresAddress, "127.0.0.1:5432"),
		"mysql":    cmp.Or(o.MySQLAddress, "127.0.0.1:3306"),
	}
	names := o.Engines
	if len(names) == 0 {
		names = []string{"postgres", "mariadb"}
	}
	var clusters []quickCluster
	seen := map[string]string{}
	for _, name := range names {
		kind, known := engines[name]
		if !known {
			return nil, fmt.Errorf("--engine %s: not known; one of postgres, mysql, mariadb", name)
		}
		if other, twice := seen[kind.protocol]; twice {
			return nil, fmt.Errorf("--engine %s: %s speaks the same protocol already; choose one", name, other)
		}
		seen[kind.protocol] = name
		c := quickCluster{Name: quickNames[kind.protocol], Engine: name, Protocol: kind.protocol, Address: addresses[kind.protocol]}
		c.Endpoint = defaultEndpoint(c.Name)
		if err := c.limit(o, kind); err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
	}
	var file bytes.Buffer
	err := quickstartFile.Execute(&file, map[string]any{
		"AdminAddress": cmp.Or(o.AdminAddress, "127.0.0.1:9630"), "Clusters": clusters,
	})
	if err != nil {
		return nil, fmt.Errorf("render quickstart configuration: %w", err)
	}
	return file.Bytes(), nil
}

// quickMin, in ACU, admits a hundred clients at once to either engine; 1 ACU
// of MySQL admits 90.
const quickMin acu.Capacity = 2

// limit takes the capacities and the pause from the options. A limit given
// alone moves the other's default out of its way.
func (c *quickCluster) limit(o QuickstartOptions, kind kindOfEngine) error {
	c.Min, c.Max = acu.Capacity(o.MinCapacity), acu.Capacity(o.MaxCapacity)
	if c.Max == 0 {
		c.Max = max(16, c.Min)
	}
	if c.Min == 0 {
		c.Min = min(quickMin, c.Max)
	}
	if !kind.table.Legal(c.Min) {
		return fmt.Errorf("--min-capacity %d: not a capacity of %s; one of %s", c.Min, kind.table.Name(), list(kind.table.Sizes()))
	}
	if !kind.table.Legal(c.Max) {
		return fmt.Errorf("--max-capacity %d: not a capacity of %s; one of %s", c.Max, kind.table.Name(), list(kind.table.Sizes()))
	}
	if c.Min > c.Max {
		return fmt.Errorf("--min-capacity %d: more than --max-capacity %d", c.Min, c.Max)
	}
	c.Seconds = cmp.Or(o.SecondsUntilAutoPause, 300)
	if c.Seconds < shortestPause || c.Seconds > longestPause {
		return fmt.Errorf("--seconds-until-auto-pause %d: out of range; %d to %d", c.Seconds, shortestPause, longestPause)
	}
	return nil
}
