package cluster

import (
	"fmt"
	"strings"
	"time"

	"serverlessproxy/acu"
)

// happening is a kind of event. FROM, TO and REASON in its message are a
// change's own.
type happening struct{ id, message string }

// What happens to a cluster, by RDS's numbers and in its words where RDS has
// them.
var (
	scaling       = happening{"RDS-EVENT-0141", "Scaling DB cluster from FROM to TO for this reason: REASON."}
	scaled        = happening{"RDS-EVENT-0142", "The DB cluster has scaled from FROM to TO."}
	notScaled     = happening{"RDS-EVENT-0143", "The DB cluster failed to scale from FROM to TO for this reason: REASON."}
	scaledByForce = happening{"RDS-EVENT-0149", "The DB cluster has scaled from FROM to TO, but scaling wasn't seamless for this reason: REASON."}
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
	tuned         = happening{"", "The parameters of the DB cluster were changed."}
	notTuned      = happening{"", "The parameters of the DB cluster were refused; it keeps those that it had."}
	renewing      = happening{"", "The engine of the DB cluster is being restarted for its parameters."}
	renewed       = happening{"", "The engine of the DB cluster was restarted for its parameters."}
	notRenewed    = happening{"", "The engine of the DB cluster was not restarted for its parameters; they wait for its next start."}
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

// tellChange is tell for a change of capacity. Its message holds the reason's
// first line.
func (c *Cluster) tellChange(what happening, change Change, reason string) {
	what.message = strings.NewReplacer(
		"FROM", units(change.From), "TO", units(change.To), "REASON", strings.TrimSuffix(firstLine(reason), "."),
	).Replace(what.message)
	c.tell(what, reason)
}

func units(capacity acu.Capacity) string {
	if capacity == 1 {
		return "1 capacity unit"
	}
	return fmt.Sprintf("%d capacity units", capacity)
}

// Aside is what a line for people says after the message: the first line of
// the reason, where the message does not hold it.
func (e Event) Aside() string {
	reason := firstLine(e.Reason)
	if strings.HasSuffix(e.Message, "for this reason: "+strings.TrimSuffix(reason, ".")+".") {
		return ""
	}
	return reason
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(first)
}

// tell writes an event down and tells the observer.
func (c *Cluster) tell(what happening, reason string) {
	e := Event{Time: time.Now().UTC(), Cluster: c.name, ID: what.id, Message: what.message, Reason: reason}
	if err := c.journal.add(e); err != nil {
		c.log.Error("an event cannot be kept", "event", what.message, "error", err)
	}
	c.observer.Happened(e)
}
