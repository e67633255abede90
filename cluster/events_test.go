package cluster

import (
	"slices"
	"testing"
)

// TestEventsInRDSWords: programs that read RDS's events find its own messages.
func TestEventsInRDSWords(t *testing.T) {
	change := Change{From: 1, To: 4}
	const tail = "the engine did not start\nits log: a row"
	for _, tt := range []struct {
		tell        func(*Cluster)
		id, message string
		aside       string
	}{
		{func(c *Cluster) { c.tellChange(scaling, change, "CPU is at 93 %") }, "RDS-EVENT-0141", "Scaling DB cluster from 1 capacity unit to 4 capacity units for this reason: CPU is at 93 %.", ""},
		{func(c *Cluster) { c.tellChange(scaled, change, "") }, "RDS-EVENT-0142", "The DB cluster has scaled from 1 capacity unit to 4 capacity units.", ""},
		{func(c *Cluster) { c.tellChange(notScaled, change, tail) }, "RDS-EVENT-0143", "The DB cluster failed to scale from 1 capacity unit to 4 capacity units for this reason: the engine did not start.", ""},
		{func(c *Cluster) { c.tell(pausing, "idle for 5m0s") }, "RDS-EVENT-0144", "The DB cluster is being paused.", "idle for 5m0s"},
		{func(c *Cluster) { c.tell(paused, "") }, "RDS-EVENT-0145", "The DB cluster is paused.", ""},
		{func(c *Cluster) { c.tell(notPaused, tail) }, "RDS-EVENT-0146", "Pause was canceled for the DB cluster.", "the engine did not start"},
		{func(c *Cluster) { c.tell(resuming, "") }, "RDS-EVENT-0147", "The DB cluster is being resumed.", ""},
		{func(c *Cluster) { c.tell(resumed, "") }, "RDS-EVENT-0148", "The DB cluster is resumed.", ""},
		{func(c *Cluster) { c.tellChange(scaledByForce, change, "s-7 [transaction].") }, "RDS-EVENT-0149", "The DB cluster has scaled from 1 capacity unit to 4 capacity units, but scaling wasn't seamless for this reason: s-7 [transaction].", ""},
	} {
		t.Run(tt.id, func(t *testing.T) {
			told := &witness{}
			c, err := New(Config{Name: "shop", Dir: t.TempDir(), Compute: &engine{t: t}, Observer: told})
			if err != nil {
				t.Fatal(err)
			}
			defer c.journal.close()
			tt.tell(c)
			e := c.Events()[len(c.Events())-1]
			if e.ID != tt.id || e.Message != tt.message || e.Aside() != tt.aside {
				t.Errorf("%s %q (%q)", e.ID, e.Message, e.Aside())
			}
			if !slices.Equal(told.events, []string{tt.id}) {
				t.Errorf("the observer was told %v", told.events)
			}
		})
	}
}
