package config

import (
	"fmt"
	"net"
	"strings"
)

// together are the sections whose contents must agree with each other; the
// indices are those of the Config.
type together struct {
	top       *section
	listeners []*section
	clusters  []*section
}

// checkTogether finds what each section alone cannot show.
func checkTogether(c *Config, t together) {
	if len(c.Clusters) == 0 {
		t.top.wrong("clusters", "no cluster", "at least one; `serverlessproxy config example` shows how")
	}
	if len(c.Listeners) == 0 {
		t.top.wrong("listeners", "no listener", "at least one; `serverlessproxy config example` shows how")
	}
	checkClusters(c, t)
	checkListeners(c, t)
}

func checkClusters(c *Config, t together) {
	names, endpoints, dirs := firsts{}, firsts{}, firsts{}
	for i, cluster := range c.Clusters {
		s := t.clusters[i]
		if cluster.Name != "" {
			names.claim(s, "name", cluster.Name)
		}
		if cluster.Endpoint != "" {
			endpoints.claim(s, "endpoint", strings.TrimSuffix(strings.ToLower(cluster.Endpoint), "."))
		}
		if cluster.Compute.Process.DataDir != "" {
			dirs.claim(s.section("compute"), "data_dir", cluster.Compute.Process.DataDir)
		}
	}
}

// firsts remembers who took a value first.
type firsts map[string]int

func (f firsts) claim(s *section, key, value string) {
	if at, taken := f[value]; taken {
		s.wrong(key, fmt.Sprintf("%q is taken (line %d)", value, at), "one that no other has")
		return
	}
	f[value] = s.lineOf(key)
}

func checkListeners(c *Config, t together) {
	taken := []claimedPort{}
	if c.Admin.Address != "" {
		taken = append(taken, claim(c.Admin.Address, t.top.lineOf("admin")))
	}
	for i, l := range c.Listeners {
		s := t.listeners[i]
		checkTarget(c, l, s)
		if l.Address == "" {
			continue // reported already
		}
		mine := claim(l.Address, s.lineOf("address"))
		for _, other := range taken {
			if mine.collides(other) {
				s.wrong("address", fmt.Sprintf("%s is taken (line %d)", l.Address, other.line), "another port")
				break
			}
		}
		taken = append(taken, mine)
	}
}

func checkTarget(c *Config, l Listener, s *section) {
	if l.Cluster == "" {
		return
	}
	target := c.Cluster(l.Cluster)
	switch {
	case target == nil:
		known := map[string]bool{}
		for _, cluster := range c.Clusters {
			known[cluster.Name] = true
		}
		right := "the name of one below clusters"
		if near := nearest(l.Cluster, known); near != "" {
			right = fmt.Sprintf("did you mean %q?", near)
		}
		s.wrong("cluster", fmt.Sprintf("there is no cluster %q", l.Cluster), right)
	case target.Protocol != "" && l.Protocol != "" && target.Protocol != l.Protocol:
		s.wrong("cluster", fmt.Sprintf("%q speaks %s, this listener %s", l.Cluster, target.Protocol, l.Protocol),
			"a cluster of the listener's protocol")
	}
}

// claimedPort is an address that somebody listens at.
type claimedPort struct {
	host, port string
	line       int
}

func claim(address string, line int) claimedPort {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
		if ip.IsUnspecified() {
			host = ""
		}
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	return claimedPort{host: strings.ToLower(host), port: port, line: line}
}

// collides tells whether the system would refuse both. Port 0 is any free one.
func (a claimedPort) collides(b claimedPort) bool {
	return a.port == b.port && a.port != "0" && (a.host == b.host || a.host == "" || b.host == "")
}
