package admin

import (
	"strings"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// Cluster is a cluster in the API.
type Cluster struct {
	Name           string       `json:"name"`
	Engine         string       `json:"engine"`
	EngineVersion  string       `json:"engine_version"`
	Endpoint       string       `json:"endpoint"`
	State          string       `json:"state"`
	Capacity       acu.Capacity `json:"capacity"` // 0 while paused or archived
	TargetCapacity acu.Capacity `json:"target_capacity"`
	MinCapacity    acu.Capacity `json:"min_capacity"`
	MaxCapacity    acu.Capacity `json:"max_capacity"`
	FixedCapacity  acu.Capacity `json:"fixed_capacity"` // the size that it was converted to; 0: none
	Ceiling        int          `json:"ceiling"`
	Sessions       Sessions     `json:"sessions"`
	Backends       int          `json:"backends"`
	PausedSince    *time.Time   `json:"paused_since"`
	PausesAt       *time.Time   `json:"pauses_at"` // null when no pause is coming
	Encryption     string       `json:"encryption"`
	Limits         string       `json:"limits"` // what holds the engine to its size
	LastError      string       `json:"last_error"`

	PendingParameters []string `json:"pending_parameters"` // that the engine takes at its next start
	ParametersError   string   `json:"parameters_error"`   // why it refused the latest; "": it did not
}

// Sessions counts a cluster's sessions by phase.
type Sessions struct {
	Total         int `json:"total"`
	Active        int `json:"active"`
	Idle          int `json:"idle"`
	InTransaction int `json:"in_transaction"`
	Held          int `json:"held"`
	Queued        int `json:"queued"`
	Parked        int `json:"parked"`
	Pinned        int `json:"pinned"` // of all phases
}

// Session is a session in the API.
type Session struct {
	ID            string    `json:"id"`
	Cluster       string    `json:"cluster"`
	User          string    `json:"user"`
	Database      string    `json:"database"`
	ClientAddress string    `json:"client_address"`
	Application   string    `json:"application"`
	Protocol      string    `json:"protocol"`
	TLS           string    `json:"tls"` // "TLSv1.3", "" for none
	Phase         string    `json:"phase"`
	PinnedBy      []string  `json:"pinned_by"`
	ConnectedAt   time.Time `json:"connected_at"`
	ActiveAt      time.Time `json:"active_at"`
	BackendPID    uint32    `json:"backend_pid"` // 0 without a backend
}

// Event is an event in the API.
type Event = cluster.Event

// Check is one preflight's result.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func (m Managed) view() Cluster {
	s := m.Machine.Status()
	return Cluster{
		Name:           m.Name,
		Engine:         m.Engine,
		EngineVersion:  m.Version(),
		Endpoint:       m.Endpoint,
		State:          string(s.State),
		Capacity:       s.Capacity,
		TargetCapacity: s.TargetCapacity,
		MinCapacity:    s.Min,
		MaxCapacity:    s.Max,
		FixedCapacity:  s.Fixed,
		Ceiling:        m.Occupants.Ceiling(),
		Sessions:       m.count(),
		Backends:       m.Occupants.Backends(),
		PausedSince:    moment(s.PausedSince),
		PausesAt:       moment(s.PausesAt),
		Encryption:     m.Encryption,
		Limits:         m.limits(),
		LastError:      s.LastError,

		PendingParameters: names(s.ParametersWaiting),
		ParametersError:   s.ParametersRefused,
	}
}

// names leaves the values out, which may be secret.
func names(changes []cluster.SettingChange) []string {
	all := make([]string, len(changes))
	for i, change := range changes {
		all[i] = change.Setting
	}
	return all
}

func (m Managed) limits() string {
	if m.Limits == nil {
		return "the operator's"
	}
	return m.Limits()
}

func (m Managed) count() Sessions {
	by := m.Occupants.Counts()
	c := Sessions{
		Active: by[pool.Active], Idle: by[pool.Idle], InTransaction: by[pool.InTransaction],
		Held: by[pool.Held], Queued: by[pool.Queued], Parked: by[pool.Parked], Pinned: m.Occupants.Pinned(),
	}
	c.Total = c.Active + c.Idle + c.InTransaction + c.Held + c.Queued + c.Parked
	return c
}

// outline is what of a cluster strangers may read: an engine's own log, whose
// end a last error may quote, can hold rows.
func (c Cluster) outline() Cluster {
	c.LastError, c.ParametersError = firstLine(c.LastError), firstLine(c.ParametersError)
	return c
}

func outlineOf(e Event) Event {
	e.Reason = firstLine(e.Reason)
	return e
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(first)
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

func (m Managed) session(v pool.View) Session {
	pins := v.PinnedBy
	if pins == nil {
		pins = []string{}
	}
	return Session{
		ID: v.ID, Cluster: m.Name, User: v.User, Database: v.Database, ClientAddress: v.ClientAddress,
		Application: v.Application, Protocol: v.Protocol, TLS: v.TLS, Phase: v.Phase.String(), PinnedBy: pins,
		ConnectedAt: v.ConnectedAt.UTC(), ActiveAt: v.ActiveAt.UTC(), BackendPID: v.BackendPID,
	}
}
