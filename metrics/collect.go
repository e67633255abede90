package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

const prefix = "serverlessproxy_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, append([]string{"cluster"}, labels...), nil)
}

// What is read at a scrape.
var (
	info        = desc("cluster_info", "What the cluster is; always 1.", "engine", "engine_version", "driver")
	state       = desc("cluster_state", "1 for the state in which the cluster is, 0 for the others.", "state")
	capacity    = desc("capacity_acu", "Present capacity in ACU; 0 while the cluster is paused.")
	capacityMax = desc("capacity_max_acu", "Highest capacity that the cluster may take, in ACU.")
	utilization = desc("acu_utilization_ratio", "Present capacity as a share of the highest.")
	acuSeconds  = desc("acu_seconds_total", "Capacity in ACU times the seconds that it was running.")
	ceiling     = desc("connections_ceiling", "Client sessions that the cluster admits at its present capacity.")
	connections = desc("database_connections", "Client sessions, by what they are doing.", "phase")
	pinned      = desc("pinned_sessions", "Sessions that cannot give up their backend, by reason; one may have several.", "reason")
	backends    = desc("backends", "Connections of sessions to the engine; active: a request or a transaction is under way.", "state")
	uptime      = desc("engine_uptime_seconds", "How long the engine has been seen running; 0 while it is not.")

	cpu      = desc("engine_cpu_utilization_ratio", "CPU that the engine uses, as a share of what its capacity stands for; 0 while it does not run.")
	freeable = desc("engine_freeable_memory_bytes", "Memory of the engine's capacity that it does not need; 0 while it does not run.")
	volume   = desc("volume_bytes", "What the cluster's volume takes on its disk; not there where others keep it.")

	attempts      = desc("connection_attempts_total", "Connections that clients opened.", "protocol")
	refused       = desc("connections_refused_total", "Connections that were refused, by why.", "protocol", "reason")
	loginFailures = desc("login_failures_total", "Logins that failed: wrong passwords, unknown users or databases, missing privileges.", "protocol")
	aborted       = desc("aborted_clients_total", "Sessions whose client vanished without saying goodbye.", "protocol")
	queries       = desc("queries_total", "Requests that clients sent.", "protocol")
	transactions  = desc("transactions_total", "Transactions that ended, single statements included.", "protocol")
	clientBytes   = desc("client_bytes_total", "Bytes to and from clients, as the engine's protocol has them; in: from clients.", "protocol", "direction")
	parks         = desc("parks_total", "Attempts to park a session, by why and how they ended.", "reason", "result")
	restores      = desc("restores_total", "Attempts to restore a parked session, by why it was parked and how they ended.", "reason", "result")
)

var read = []*prometheus.Desc{
	info, state, capacity, capacityMax, utilization, acuSeconds, ceiling, connections, pinned, backends, uptime, cpu, freeable, volume,
	attempts, refused, loginFailures, aborted, queries, transactions, clientBytes, parks, restores,
}

// Describe is prometheus.Collector's.
func (v *View) Describe(to chan<- *prometheus.Desc) {
	for _, d := range read {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (v *View) Collect(to chan<- prometheus.Metric) {
	clusters, strays := v.present()
	out := output(to)
	for _, c := range clusters {
		out.machine(c)
		out.occupants(c)
		out.tally(c.Name, c.Protocol, c.Tally)
		out.work(c.Name, c.Protocol, c.Tally)
	}
	for _, s := range strays {
		out.tally("", s.protocol, s.tally)
	}
}

// output is where a scrape's samples go.
type output chan<- prometheus.Metric

func (o output) gauge(d *prometheus.Desc, value float64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (o output) counter(d *prometheus.Desc, value float64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func (o output) machine(e *entry) {
	s := e.Machine.Status()
	o.gauge(info, 1, e.Name, e.Engine, clean(e.Version()), e.Driver)
	for _, word := range states {
		o.gauge(state, truth(s.State == word), e.Name, string(word))
	}
	o.gauge(capacity, float64(s.Capacity), e.Name)
	o.gauge(capacityMax, float64(s.Max), e.Name)
	o.gauge(utilization, share(s), e.Name)
	o.counter(acuSeconds, e.Machine.ACUSeconds(), e.Name)
	o.gauge(uptime, e.engine.uptime(s.Backend, time.Now()).Seconds(), e.Name)
	measured := e.Machine.Measured()
	o.gauge(cpu, measured.CPU, e.Name)
	o.gauge(freeable, float64(measured.Freeable), e.Name)
	if e.Volume != nil {
		o.gauge(volume, float64(e.Volume()), e.Name)
	}
}

func share(s *cluster.Status) float64 {
	if s.Max == 0 {
		return 0
	}
	return float64(s.Capacity) / float64(s.Max)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (o output) occupants(e *entry) {
	o.gauge(ceiling, float64(e.Occupants.Ceiling()), e.Name)
	counts := e.Occupants.Counts()
	for _, phase := range phases {
		o.gauge(connections, float64(counts[phase]), e.Name, phase.String())
	}
	all := e.Occupants.Backends()
	active := min(all, counts[pool.Active]+counts[pool.InTransaction])
	o.gauge(backends, float64(active), e.Name, "active")
	o.gauge(backends, float64(all-active), e.Name, "idle")
	pins := e.Occupants.Pins()
	for _, reason := range pinReasons {
		o.gauge(pinned, float64(pins[reason]), e.Name, reason)
	}
}

// tally is what is counted of every connection, also of one that names no
// cluster that there is.
func (o output) tally(name, protocol string, t *pool.Tally) {
	o.counter(attempts, float64(t.Attempts.Load()), name, protocol)
	o.counter(loginFailures, float64(t.LoginFailures.Load()), name, protocol)
	o.counter(aborted, float64(t.Aborted.Load()), name, protocol)
	t.Refused(func(reason string, n int64) { o.counter(refused, float64(n), name, protocol, reason) })
}

// work is what sessions do.
func (o output) work(name, protocol string, t *pool.Tally) {
	o.counter(queries, float64(t.Queries.Load()), name, protocol)
	o.counter(transactions, float64(t.Transactions.Load()), name, protocol)
	o.counter(clientBytes, float64(t.BytesIn.Load()), name, protocol, "in")
	o.counter(clientBytes, float64(t.BytesOut.Load()), name, protocol, "out")
	t.Parks(func(reason, result string, n int64) { o.counter(parks, float64(n), name, reason, result) })
	t.Restores(func(reason, result string, n int64) { o.counter(restores, float64(n), name, reason, result) })
}
