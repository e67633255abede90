package process

import (
	"fmt"
	"maps"
	"testing"

	"serverlessproxy/cluster"
)

// TestChanges: what leads from some parameters to others, and what a running
// engine has after it when some of it waits.
func TestChanges(t *testing.T) {
	type of = map[string]string
	for _, tt := range []struct {
		name     string
		from, to of
		changes  string
		waiting  string
		after    of
	}{
		{"nothing", of{"a": "1"}, of{"a": "1"}, "", "", of{"a": "1"}},
		{"from nothing known", nil, of{"a": "1", "b": "2"}, "a=1 b=2 ", "", of{"a": "1", "b": "2"}},
		{"one is new, one other, one gone", of{"a": "1", "b": "1"}, of{"b": "2", "c": "3"}, "a=the engine's default b=2 c=3 ", "", of{"b": "2", "c": "3"}},
		{"written otherwise", of{"a_b": "1"}, of{"a-b": "2"}, "a_b=the engine's default a-b=2 ", "", of{"a-b": "2"}},
		{"a new one waits", of{"a": "1"}, of{"a": "1", "b": "2"}, "b=2 ", "b", of{"a": "1"}},
		{"another value waits", of{"b": "1"}, of{"a": "1", "b": "2"}, "a=1 b=2 ", "b", of{"a": "1", "b": "1"}},
		{"one that is gone waits", of{"b": "1"}, of{}, "b=the engine's default ", "b", of{"b": "1"}},
		{"empty is a value", of{}, of{"a": ""}, "a= ", "", of{"a": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes, text := changesBetween(tt.from, tt.to), ""
			for _, change := range changes {
				text += fmt.Sprintf("%s=%s ", change.Name, change.To())
			}
			if text != tt.changes {
				t.Errorf("changes %q, want %q", text, tt.changes)
			}
			var waiting []cluster.SettingChange
			if tt.waiting != "" {
				waiting = append(waiting, cluster.SettingChange{Setting: tt.waiting})
			}
			if after := withOnly(tt.from, changes, waiting); !maps.Equal(after, tt.after) {
				t.Errorf("after them %v, want %v", after, tt.after)
			}
		})
	}
}
