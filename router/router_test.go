package router

import (
	"errors"
	"strings"
	"testing"
)

// The clusters shop and blog share an ID and a suffix, as clusters of one
// account do; plain has an endpoint without a family and bare has none.
var (
	shop  = &Target{Name: "shop", Protocol: "postgres", Endpoint: "shop.cluster-c1x2.db.example"}
	blog  = &Target{Name: "blog", Protocol: "postgres", Endpoint: "blog.cluster-c1x2.db.example"}
	plain = &Target{Name: "plain", Protocol: "postgres", Endpoint: "plain.example"}
	bare  = &Target{Name: "bare", Protocol: "postgres"}
	mine  = &Target{Name: "mine", Protocol: "mysql", Endpoint: "mine.cluster-m9.db.example"}
	twin  = &Target{Name: "twin", Protocol: "mysql", Endpoint: "shop.cluster-c1x2.db.example"} // shop's host name, the other protocol
	odd   = &Target{Name: "odd", Protocol: "postgres", Endpoint: "odd.c1x2.db.example"}        // looks like shop's instance, but is an endpoint
)

func table(t *testing.T) *Table {
	t.Helper()
	table, err := NewTable([]*Target{shop, blog, plain, bare, mine, twin, odd})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRoute(t *testing.T) {
	open := &Listener{Protocol: "postgres"}
	usual := &Listener{Protocol: "postgres", Cluster: "plain"}
	usualBlog := &Listener{Protocol: "postgres", Cluster: "blog"}
	sole := &Listener{Protocol: "postgres", Cluster: "plain", Sole: true}
	instance := &Listener{Protocol: "postgres", Cluster: "shop", Instance: "shop-1"}
	mysql := &Listener{Protocol: "mysql", Cluster: "mine"}
	crossed := &Listener{Protocol: "mysql", Cluster: "shop"}
	foreign := &Listener{Protocol: "smtp", Cluster: "shop"}

	instanceAt := func(endpoint string) string { return "instance:" + endpoint }
	const unknown = "unknown"
	tests := []struct {
		name string
		in   Request
		want string // a target's name, or how it is refused
	}{
		{"nothing said, nothing usual", Request{Listener: open}, unknown},
		{"the listener's default", Request{Listener: usual}, "plain"},
		{"the default is of the other protocol", Request{Listener: crossed}, unknown},
		{"a protocol without clusters", Request{Listener: foreign}, unknown},
		{"SNI", Request{Listener: usual, SNI: shop.Endpoint}, "shop"},
		{"SNI in capitals with a dot", Request{Listener: usual, SNI: "SHOP.Cluster-C1X2.db.Example."}, "shop"},
		{"SNI without a family", Request{Listener: open, SNI: "plain.example"}, "plain"},
		{"SNI that is nobody's", Request{Listener: usual, SNI: "localhost"}, "plain"},
		{"SNI that is nobody's, no default", Request{Listener: open, SNI: "localhost"}, unknown},
		{"SNI of an unknown cluster of the family", Request{Listener: usual, SNI: "nope.cluster-c1x2.db.example"}, "plain"},
		{"SNI is no cluster's name", Request{Listener: open, SNI: "shop"}, unknown},
		{"SNI of the other protocol", Request{Listener: usual, SNI: mine.Endpoint}, unknown},
		{"SNI of both protocols: postgres", Request{Listener: open, SNI: shop.Endpoint}, "shop"},
		{"SNI of both protocols: mysql", Request{Listener: mysql, SNI: shop.Endpoint}, "twin"},
		{"SNI before the option", Request{Listener: usual, SNI: shop.Endpoint, Endpoint: "blog"}, "shop"},
		{"option before the default", Request{Listener: usual, Endpoint: "blog"}, "blog"},
		{"option after a strange SNI", Request{Listener: usual, SNI: "proxy.example", Endpoint: "blog"}, "blog"},
		{"option with an endpoint", Request{Listener: usual, Endpoint: "blog.cluster-c1x2.DB.example."}, "blog"},
		{"option with a name in capitals", Request{Listener: open, Endpoint: "BARE"}, "bare"},
		{"option that names nobody", Request{Listener: usual, Endpoint: "nope"}, unknown},
		{"option that names the other protocol's", Request{Listener: usual, Endpoint: "mine"}, unknown},
		{"sole before SNI", Request{Listener: sole, SNI: shop.Endpoint}, "plain"},
		{"sole before the option", Request{Listener: sole, Endpoint: "nope"}, "plain"},
		{"sole of the other protocol", Request{Listener: &Listener{Protocol: "mysql", Cluster: "shop", Sole: true}}, unknown},

		{"instance: listener", Request{Listener: instance}, instanceAt(shop.Endpoint)},
		{"instance: listener, whatever is said", Request{Listener: instance, SNI: blog.Endpoint, Endpoint: "blog"}, instanceAt(shop.Endpoint)},
		{"instance: listener without a cluster", Request{Listener: &Listener{Protocol: "postgres", Instance: "x"}}, instanceAt("")},
		{"instance: SNI", Request{Listener: usualBlog, SNI: "shop-instance-1.c1x2.db.example"}, instanceAt(blog.Endpoint)},
		{"instance: SNI, another default", Request{Listener: usual, SNI: "shop-instance-1.c1x2.db.example"}, instanceAt(shop.Endpoint)},
		{"instance: SNI of the cluster's own name", Request{Listener: usual, SNI: "blog.c1x2.db.example"}, instanceAt(blog.Endpoint)},
		{"instance: reader", Request{Listener: usual, SNI: "blog.cluster-ro-c1x2.db.example"}, instanceAt(blog.Endpoint)},
		{"instance: custom", Request{Listener: usual, SNI: "reports.cluster-custom-c1x2.db.example"}, instanceAt(shop.Endpoint)},
		{"instance: in capitals with a dot", Request{Listener: usual, SNI: "BLOG.CLUSTER-RO-c1x2.db.example."}, instanceAt(blog.Endpoint)},
		{"instance: sole listener too", Request{Listener: sole, SNI: "a.c1x2.db.example"}, instanceAt(shop.Endpoint)},
		{"instance: SNI though the option is right", Request{Listener: usual, SNI: "a.c1x2.db.example", Endpoint: "plain"}, instanceAt(shop.Endpoint)},
		{"instance: the option holds one", Request{Listener: usual, Endpoint: "blog.cluster-ro-c1x2.db.example"}, instanceAt(blog.Endpoint)},
		{"instance: the option holds one though SNI is right", Request{Listener: usual, SNI: shop.Endpoint, Endpoint: "x.c1x2.db.example"}, instanceAt(shop.Endpoint)},
		{"instance: option instance", Request{Listener: usual, Instance: "plain-1"}, instanceAt("plain.example")},
		{"instance: option instance and endpoint", Request{Listener: usual, Endpoint: "blog", Instance: "blog-1"}, instanceAt(blog.Endpoint)},
		{"instance: option instance, cluster without endpoint", Request{Listener: open, Endpoint: "bare", Instance: "b"}, instanceAt("bare")},
		{"instance: option instance of nobody", Request{Listener: open, Instance: "b"}, instanceAt("")},
		{"an endpoint that looks like an instance", Request{Listener: usual, SNI: "odd.c1x2.db.example"}, "odd"},
		{"another ID", Request{Listener: usual, SNI: "a.zzz.db.example"}, "plain"},
		{"another suffix", Request{Listener: usual, SNI: "a.c1x2.db.example.org"}, "plain"},
		{"two labels more", Request{Listener: usual, SNI: "a.b.c1x2.db.example"}, "plain"},
		{"no name before the ID", Request{Listener: usual, SNI: "c1x2.db.example"}, "plain"},
		{"reader without an ID", Request{Listener: usual, SNI: "a.cluster-ro-.db.example"}, "plain"},
		{"the other protocol's family", Request{Listener: usual, SNI: "a.m9.db.example"}, "plain"},
		{"instance: mysql", Request{Listener: mysql, SNI: "a.m9.db.example"}, instanceAt(mine.Endpoint)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, err := table(t).Route(tt.in)
			if got := outcome(t, target, err); got != tt.want {
				t.Errorf("Route = %s, want %s", got, tt.want)
			}
		})
	}
}

func outcome(t *testing.T, target *Target, err error) string {
	t.Helper()
	var instance *InstanceError
	var unknown *UnknownError
	switch {
	case errors.As(err, &instance):
		if !strings.Contains(err.Error(), instance.Endpoint) {
			t.Errorf("%q does not name %q", err, instance.Endpoint)
		}
		return "instance:" + instance.Endpoint
	case errors.As(err, &unknown):
		for _, secret := range []*Target{shop, blog, plain, bare, mine} {
			if strings.Contains(err.Error(), secret.Name) {
				t.Errorf("%q lists %q", err, secret.Name)
			}
		}
		return "unknown"
	case err != nil:
		t.Fatalf("unexpected error %v", err)
	}
	return target.Name
}

func TestDefault(t *testing.T) {
	for listener, want := range map[Listener]*Target{
		{Protocol: "postgres", Cluster: "shop"}:             shop,
		{Protocol: "postgres", Cluster: "Shop", Sole: true}: shop,
		{Protocol: "postgres"}:                              nil,
		{Protocol: "mysql", Cluster: "shop"}:                nil,
		{Protocol: "smtp", Cluster: "shop"}:                 nil,
	} {
		if got := table(t).Default(&listener); got != want {
			t.Errorf("Default(%+v) = %v, want %v", listener, got, want)
		}
	}
}

func TestNewTableRefusesAmbiguity(t *testing.T) {
	tests := []struct {
		name    string
		targets []*Target
		want    string
	}{
		{"names", []*Target{{Name: "a", Protocol: "postgres"}, {Name: "A", Protocol: "mysql"}}, "two clusters are named"},
		{"endpoints", []*Target{{Name: "a", Protocol: "mysql", Endpoint: "x.example"}, {Name: "b", Protocol: "mysql", Endpoint: "X.example."}}, "same endpoint"},
		{"name and endpoint", []*Target{{Name: "a", Protocol: "mysql", Endpoint: "b"}, {Name: "b", Protocol: "mysql"}}, "rename one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewTable(tt.targets); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewTable = %v, want an error that says %q", err, tt.want)
			}
		})
	}
	own := []*Target{{Name: "a", Protocol: "mysql", Endpoint: "a"}, {Name: "b", Protocol: "postgres", Endpoint: "a"}}
	if _, err := NewTable(own); err != nil {
		t.Errorf("a cluster whose endpoint is its own name: %v", err)
	}
}
