package metrics

import (
	"slices"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// The closed sets of label values.
var (
	states = []cluster.State{
		cluster.Paused, cluster.Resuming, cluster.Available, cluster.Scaling,
		cluster.Pausing, cluster.Archived, cluster.Restoring, cluster.Failed,
	}
	phases   = []pool.Phase{pool.Active, pool.Idle, pool.InTransaction, pool.Held, pool.Queued, pool.Parked}
	triggers = []string{
		string(cluster.OnConnect), string(cluster.OnQuery), string(cluster.Manual),
		string(cluster.OnScale), string(cluster.AtStart), string(cluster.OnCrash),
	}
	results    = []string{ok, failed}
	pauseEnds  = []string{"paused", "cancelled", "failed"}
	directions = []string{"up", "down"}
	modes      = []string{string(cluster.InPlace), string(cluster.ByRestart)}
	changeEnds = []string{"done", "rolled_back", "forced", "failed"}
	holdings   = []string{"resume", "scale", "queue"}
	parkings   = []string{"pause", "scale", "engine_lost", "release"}
	pinReasons = []string{
		"transaction", "copy", "cursor", "advisory_lock", "temporary_object", "replication", "prepared_text",
		"lock_tables", "user_lock", "handler", "long_data", "xa", "unreadable",
	}
	events = []string{
		"RDS-EVENT-0141", "RDS-EVENT-0142", "RDS-EVENT-0143", "RDS-EVENT-0144", "RDS-EVENT-0145",
		"RDS-EVENT-0146", "RDS-EVENT-0147", "RDS-EVENT-0148", "RDS-EVENT-0149", other,
	}
)

const (
	ok     = "ok"
	failed = "failed"
	other  = "other" // whatever a set does not name
)

// within keeps a label in its set.
func within(set []string, word string) string {
	if slices.Contains(set, word) {
		return word
	}
	return other
}
