package admin

import (
	"net/http"
	"strings"
	"testing"

	"serverlessproxy/cluster"
)

func TestCapacity(t *testing.T) {
	held := &cluster.Holdouts{Sessions: []cluster.Holdout{{Session: "s-1", Reasons: []string{"transaction"}}}}
	for _, tt := range []struct {
		name, body string
		fails      error
		status     int
		says       string
	}{
		{"done", `{"capacity":8}`, nil, 200, `"capacity":8`},
		{"forced", `{"capacity":8,"seconds_before_timeout":10,"timeout_action":"ForceApplyCapacityChange"}`, nil, 200, `"capacity":8`},
		{"plan", `{"capacity":8,"dry_run":true}`, nil, 200, `"in_place":[{"setting":"work_mem","from":"4MB","to":"8MB"}],"restart":[],"pinned":[{"id":"s-1"`},
		{"no size", `{"capacity":3}`, &cluster.CapacityError{Reason: "there are 1, 2"}, 400, "there are 1, 2"},
		{"too soon", `{"capacity":8,"seconds_before_timeout":9}`, nil, 400, "between 10 and 600"},
		{"unknown action", `{"capacity":8,"timeout_action":"Hope"}`, nil, 400, "RollbackCapacityChange or ForceApplyCapacityChange"},
		{"held up", `{"capacity":8}`, held, 409, "the capacity was not changed, no scaling point was found in time: 1 sessions cannot give up their backends: s-1 (transaction)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.machine.fails = tt.fails
			w := b.ask(http.MethodPost, "/v1/clusters/shop/capacity", tt.body, withToken)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
