package router

import (
	"errors"
	"fmt"
	"serverlessproxy/pool"
	"strings"
)

// Table is every target.
type Table struct {
	byProtocol map[string]*index
}

// index is the targets of one protocol: a client of another is never told of
// them. Its keys are folded.
type index struct {
	names     map[string]*Target
	endpoints map[string]*Target
	families  map[family][]*Target // in the table's order
}

// NewTable checks that every name and endpoint means one target.
func NewTable(targets []*Target) (*Table, error) {
	t := &Table{byProtocol: map[string]*index{}}
	names := map[string]bool{}
	var mistakes []error
	for _, target := range targets {
		name, endpoint := fold(target.Name), fold(target.Endpoint)
		if names[name] {
			mistakes = append(mistakes, fmt.Errorf("two clusters are named %q; give each a name of its own", target.Name))
			continue
		}
		names[name] = true
		in := t.index(target.Protocol)
		in.names[name] = target
		if endpoint == "" {
			continue
		}
		if other := in.endpoints[endpoint]; other != nil {
			mistakes = append(mistakes, fmt.Errorf("clusters %q and %q have the same endpoint %q; give each one of its own",
				other.Name, target.Name, target.Endpoint))
			continue
		}
		in.endpoints[endpoint] = target
		if f, ok := familyOf(endpoint); ok {
			in.families[f] = append(in.families[f], target)
		}
	}
	for _, in := range t.byProtocol {
		for endpoint, target := range in.endpoints {
			if other := in.names[endpoint]; other != nil && other != target {
				mistakes = append(mistakes, fmt.Errorf("the endpoint of cluster %q is the name of cluster %q; rename one", target.Name, other.Name))
			}
		}
	}
	return t, errors.Join(mistakes...)
}

func (t *Table) index(protocol string) *index {
	if t.byProtocol[protocol] == nil {
		t.byProtocol[protocol] = &index{
			names:     map[string]*Target{},
			endpoints: map[string]*Target{},
			families:  map[family][]*Target{},
		}
	}
	return t.byProtocol[protocol]
}

// Route says which target a connection is for. That it names an instance is
// asked first: an instance refuses whatever else the client says.
func (t *Table) Route(r Request) (*Target, error) {
	in := t.byProtocol[r.Listener.Protocol]
	if in == nil {
		in = &index{}
	}
	usual := in.names[fold(r.Listener.Cluster)]

	if r.Listener.Instance != "" {
		return nil, instanceOf(usual)
	}
	for _, host := range []string{r.SNI, r.Endpoint} {
		if cluster := in.besides(host, usual); cluster != nil {
			return nil, instanceOf(cluster)
		}
	}
	target, err := t.cluster(in, usual, r)
	if r.Instance != "" {
		return nil, instanceOf(target)
	}
	return target, err
}

// cluster is the order in which a client may name its cluster.
func (t *Table) cluster(in *index, usual *Target, r Request) (*Target, error) {
	if r.Listener.Sole {
		return known(usual)
	}
	if sni := fold(r.SNI); t.isEndpoint(sni) {
		return known(in.endpoints[sni])
	}
	if r.Endpoint != "" {
		return known(in.named(fold(r.Endpoint)))
	}
	return known(usual)
}

// Default is the target of clients that name none, nil where there is none.
func (t *Table) Default(l *Listener) *Target {
	in := t.byProtocol[l.Protocol]
	if in == nil {
		return nil
	}
	return in.names[fold(l.Cluster)]
}

// isEndpoint tells whether host is an endpoint of any protocol; a host name
// that is none (an address, an alias) says nothing about the cluster.
func (t *Table) isEndpoint(host string) bool {
	for _, in := range t.byProtocol {
		if in.endpoints[host] != nil {
			return true
		}
	}
	return false
}

func (in *index) named(nameOrEndpoint string) *Target {
	if target := in.names[nameOrEndpoint]; target != nil {
		return target
	}
	return in.endpoints[nameOrEndpoint]
}

// besides is the cluster that host would be an instance, a reader or a custom
// endpoint of; nil if it is none. Clusters may share an ID and a suffix: the
// one of that name is meant, else the listener's usual one, else the first.
func (in *index) besides(host string, usual *Target) *Target {
	host = fold(host)
	if in.endpoints[host] != nil {
		return nil
	}
	f, ok := familyBesides(host)
	if !ok || len(in.families[f]) == 0 {
		return nil
	}
	name, _, _ := strings.Cut(host, ".")
	if target := in.endpoints[f.endpoint(name)]; target != nil {
		return target
	}
	for _, target := range in.families[f] {
		if target == usual {
			return target
		}
	}
	return in.families[f][0]
}

// family is what the endpoints NAME.cluster-ID.SUFFIX have in common with the
// host names next to them.
type family struct{ id, suffix string }

const (
	clusterPrefix = "cluster-"
	readerPrefix  = "cluster-ro-"
	customPrefix  = "cluster-custom-"
)

func (f family) endpoint(name string) string {
	return name + "." + clusterPrefix + f.id + "." + f.suffix
}

// familyOf reads an endpoint of the form NAME.cluster-ID.SUFFIX.
func familyOf(endpoint string) (family, bool) {
	middle, suffix, ok := middleOf(endpoint)
	if !ok || strings.HasPrefix(middle, readerPrefix) || strings.HasPrefix(middle, customPrefix) {
		return family{}, false
	}
	id, ok := strings.CutPrefix(middle, clusterPrefix)
	return family{id, suffix}, ok && id != ""
}

// familyBesides reads NAME.ID.SUFFIX, NAME.cluster-ro-ID.SUFFIX and
// NAME.cluster-custom-ID.SUFFIX.
func familyBesides(host string) (family, bool) {
	middle, suffix, ok := middleOf(host)
	if !ok {
		return family{}, false
	}
	for _, prefix := range []string{readerPrefix, customPrefix} {
		if id, found := strings.CutPrefix(middle, prefix); found {
			return family{id, suffix}, id != ""
		}
	}
	return family{middle, suffix}, !strings.HasPrefix(middle, clusterPrefix)
}

// middleOf splits NAME.MIDDLE.SUFFIX; a suffix has one label or more.
func middleOf(host string) (middle, suffix string, ok bool) {
	name, rest, _ := strings.Cut(host, ".")
	middle, suffix, _ = strings.Cut(rest, ".")
	return middle, suffix, name != "" && middle != "" && suffix != ""
}

// fold makes two spellings of a host name equal.
func fold(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func known(target *Target) (*Target, error) {
	if target == nil {
		return nil, &UnknownError{}
	}
	return target, nil
}

// InstanceError refuses a connection to an instance. Endpoint is what to
// connect to instead: a host name or, for a cluster without one, its name.
type InstanceError struct {
	Endpoint string
	Tally    *pool.Tally // of that cluster; nil where none can be told
}

func (e *InstanceError) Error() string {
	if e.Endpoint == "" {
		return "this address is an instance's; connect to the cluster endpoint"
	}
	return "this address is an instance's; connect to the cluster endpoint " + e.Endpoint
}

func instanceOf(target *Target) *InstanceError {
	switch {
	case target == nil:
		return &InstanceError{}
	case target.Endpoint == "":
		return &InstanceError{target.Name, target.Tally}
	}
	return &InstanceError{target.Endpoint, target.Tally}
}

// UnknownError refuses a connection that names no cluster that there is.
type UnknownError struct{}

func (e *UnknownError) Error() string { return "unknown cluster" }
