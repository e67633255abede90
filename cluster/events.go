package cluster

import "time"

// happening is a kind of event.
type happening struct{ id, message string }

// What happens to a cluster, by RDS's numbers and in its words where RDS has
// them.
var (
	scaling       = happening{"RDS-EVENT-0141", "Scaling of the DB cluster was initiated."}
	scaled        = happening{"RDS-EVENT-0142", "Scaling of the DB cluster is complete."}
	notScaled     = happening{"RDS-EVENT-0143", "Scaling of the DB cluster failed."}
	scaledByForce = happening{"RDS-EVENT-0149", "The DB cluster has scaled, but scaling was not seamless."}
	pausing       = happening{"RDS-EVENT-0144", "The DB cluster is being paused."}
	paused        = happening{"RDS-EVENT-0145", "The DB cluster is paused."}
	notPaused     = happening{"RDS-EVENT-0146", "Pause was canceled for the DB cluster."}
	resuming      = happening{"RDS-EVENT-0147", "The DB cluster is being resumed."}
	resumed       = happening{"RDS-EVENT-0148", "The DB cluster is resumed."}
	notResumed    = happening{"", "The DB cluster could not be resumed."}
	adopted       = happening{"", "The engine of the DB cluster was found running."}
	engineEnded   = happening{"", "The engine of the DB cluster ended unexpectedly."}
	notStopped    = happening{"", "The engine of the DB cluster could not be stopped."}
	newLimits     = happening{"", "The limits of the DB cluster were changed."}
)

// Reasons that an event gives.
const (
	askedByOperator = "asked by an operator"
	proxyStops      = "the proxy is stopping"

	convertedToFixed = "it is converted to a fixed size"
)

// reason is why a resume began.
func (t Trigger) reason() string {
	switch t {
	case OnConnect:
		return "a client connected"
	case OnQuery:
		return "a client sent a request"
	case OnScale:
		return "its capacity is to be changed"
	case AtStart:
		return "it does not pause by itself"
	case OnCrash:
		return "its engine ended unexpectedly"
	}
	return askedByOperator
}

// tell writes an event down and tells the observer.
func (c *Cluster) tell(what happening, reason string) {
	e := Event{Time: time.Now().UTC(), Cluster: c.name, ID: what.id, Message: what.message, Reason: reason}
	if err := c.journal.add(e); err != nil {
		c.log.Error("an event cannot be kept", "event", what.message, "error", err)
	}
	c.observer.Happened(e)
}
