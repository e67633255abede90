package process

import (
	"maps"
	"slices"

	"serverlessproxy/cluster"
)

// copied is never nil.
func copied(parameters map[string]string) map[string]string {
	all := make(map[string]string, len(parameters))
	maps.Copy(all, parameters)
	return all
}

// changesBetween are those that lead from some parameters to others: first what
// is no longer there, since one that is written otherwise is both.
func changesBetween(from, to map[string]string) (changes []ParameterChange) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, still := to[name]; !still {
			changes = append(changes, ParameterChange{Name: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if value, had := from[name]; !had || value != to[name] {
			value = to[name]
			changes = append(changes, ParameterChange{Name: name, Value: &value})
		}
	}
	return changes
}

// withOnly are the parameters after the changes, but for those that wait.
func withOnly(from map[string]string, changes []ParameterChange, waiting []cluster.SettingChange) map[string]string {
	after := copied(from)
	for _, change := range changes {
		waits := slices.ContainsFunc(waiting, func(w cluster.SettingChange) bool { return w.Setting == change.Name })
		switch {
		case waits:
		case change.Value == nil:
			delete(after, change.Name)
		default:
			after[change.Name] = *change.Value
		}
	}
	return after
}
