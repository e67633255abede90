package mysqlfront

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// TestAnswers is the table of errors that clients see; wrapped, as they come.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		err     error
		want    string
		refusal pool.Refusal
	}{
		{&pool.TooMany{}, "1040 08004 Too many connections", pool.RefusedCeiling},
		{&pool.TooMany{Waited: time.Second}, "1040 08004 Too many connections", pool.RefusedQueueTimeout},
		{errCrowd, "1040 08004 Too many connections", pool.RefusedCeiling},
		{&router.InstanceError{Endpoint: "e"}, "1130 HY000 this address is an instance's; connect to the cluster endpoint e", pool.RefusedInstance},
		{&router.UnknownError{}, "1049 42000 Unknown cluster: name one by the connection attribute endpoint or by its host name over TLS", pool.RefusedUnknownCluster},
		{&accessDenied{"u", "h", true}, "1045 28000 Access denied for user 'u'@'h' (using password: YES)", pool.RefusedAuth},
		{&accessDenied{"u", "h", false}, "1045 28000 Access denied for user 'u'@'h' (using password: NO)", pool.RefusedAuth},
		{&noWayIn{"u", "h"}, "1698 28000 Access denied for user 'u'@'h'", pool.RefusedAuth},
		{&accountLocked{"u", "h", true}, "4151 HY000 Access denied, this account is locked", pool.RefusedAuth},
		{&accountLocked{"u", "h", false}, "3118 HY000 Access denied for user 'u'@'h'. Account is locked.", pool.RefusedAuth},
		{&noDatabase{"d"}, "1049 42000 Unknown database 'd'", pool.RefusedAuth},
		{&noAccess{"u", "%", "d"}, "1044 42000 Access denied for user 'u'@'%' to database 'd'", pool.RefusedAuth},
		{&mysqlwire.ServerError{Code: 1862, SQLState: "HY000", Message: "expired"}, "1862 HY000 expired", pool.RefusedAuth},
		{&cluster.ResumeError{Reason: "disk full"}, "1053 08S01 Server shutdown in progress: cannot resume the cluster: disk full", pool.RefusedResumeFailed},
		{context.DeadlineExceeded, "1053 08S01 Server shutdown in progress: no answer from the engine in time", pool.RefusedResumeFailed},
		{errDraining, "1053 08S01 Server shutdown in progress", pool.RefusedDraining},
		{pool.ErrDraining, "1053 08S01 Server shutdown in progress", pool.RefusedDraining},
		{errPlain, "3159 HY000 Connections using insecure transport are prohibited while --require_secure_transport=ON.", pool.RefusedTLS},
		{errBadHandshake, "1043 08S01 Bad handshake", pool.RefusedProtocol},
		{mysqlwire.ErrMalformed, "1835 HY000 Malformed communication packet", pool.RefusedProtocol},
	} {
		err := fmt.Errorf("outer: %w", c.err)
		a, ok := answerTo(err)
		if got := fmt.Sprintf("%d %s %s", a.code, a.state, a.message); !ok || got != c.want {
			t.Errorf("%T %v is told as %q, want %q", c.err, c.err, got, c.want)
		}
		if refusal, ok := refusalOf(err); !ok || refusal != c.refusal {
			t.Errorf("%T %v counts as %v, want %v", c.err, c.err, refusal, c.refusal)
		}
	}
	for _, quiet := range []error{errVanished, gone(io.EOF), errKilled, errEngineGone, errQuit, errPinnedTimeout} {
		if a, ok := answerTo(quiet); ok {
			t.Errorf("%v is told as %v", quiet, a)
		}
	}
}
