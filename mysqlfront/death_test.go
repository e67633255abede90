package mysqlfront

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
)

func TestPassingTrouble(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&cluster.ResumeError{Reason: "disk full"}, true},
		{fmt.Errorf("%w: no such file", errNoBackend), true},
		{context.DeadlineExceeded, true},
		{&unlikeItem{item: "role"}, false},
		{&unlikeItem{"login", context.DeadlineExceeded}, false},
		{&mysqlwire.ServerError{Code: mysql.ER_ACCESS_DENIED_ERROR}, false},
		{fmt.Errorf("%w: capabilities", errUnlike), false},
		{errVanished, false},
		{context.Canceled, false},
	} {
		if got := passingTrouble(fmt.Errorf("outer: %w", c.err)); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	for command, want := range map[byte]bool{mysql.COM_QUERY: true, mysql.COM_STMT_EXECUTE: true, mysql.COM_PING: true,
		mysql.COM_STMT_CLOSE: false, mysql.COM_STMT_SEND_LONG_DATA: false, mysql.COM_QUIT: false} {
		if refusableCommand(command) != want {
			t.Errorf("command %d: %v", command, !want)
		}
	}
}
