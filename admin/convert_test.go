package admin

import (
	"encoding/json"
	"math"
	"net/http"
	"testing"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

func TestCompare(t *testing.T) {
	month := func(acuHours float64) cluster.Metered {
		return cluster.Metered{From: start, To: start.Add(700 * time.Hour), ACUSeconds: acuHours * 3600}
	}
	tests := map[string]struct {
		metered        cluster.Metered
		request        ConvertRequest
		usedCost, cost float64
		cheaper        string
		warnings       int
	}{
		"mostly paused":      {month(100), ConvertRequest{Capacity: 2}, 10, 140, "metered", 0},
		"busy all the time":  {month(5000), ConvertRequest{Capacity: 4}, 500, 280, "fixed", 0},
		"as much":            {month(1400), ConvertRequest{Capacity: 2}, 140, 140, "metered", 0},
		"burstable":          {month(100), ConvertRequest{Capacity: 2, Burstable: true}, 10, 140, "metered", 1},
		"metered for a day":  {cluster.Metered{From: start, To: start.Add(24 * time.Hour), ACUSeconds: 3600}, ConvertRequest{Capacity: 1}, 0.1, 2.4, "metered", 1},
		"not metered at all": {cluster.Metered{From: start, To: start}, ConvertRequest{Capacity: 1}, 0, 0, "metered", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := compare(tt.metered, tt.request, Cost{ACUHour: 0.1, Currency: "EUR"})
			if math.Abs(got.MeteredCost-tt.usedCost) > 1e-9 || math.Abs(got.FixedCost-tt.cost) > 1e-9 || got.Cheaper != tt.cheaper || len(got.Warnings) != tt.warnings {
				t.Errorf("compare = %+v", got)
			}
		})
	}
}

func TestConvert(t *testing.T) {
	tests := map[string]struct {
		body   string
		status int
		fixed  acu.Capacity
	}{
		"a dry run":                 {`{"capacity": 8, "dry_run": true}`, http.StatusOK, 0},
		"for good":                  {`{"capacity": 8}`, http.StatusOK, 8},
		"undone":                    {`{"undo": true}`, http.StatusOK, 0},
		"no size of the engine":     {`{"capacity": 3}`, http.StatusBadRequest, 0},
		"no size at all":            {`{}`, http.StatusBadRequest, 0},
		"a size, and undone":        {`{"capacity": 8, "undo": true}`, http.StatusBadRequest, 0},
		"a dry run of no such size": {`{"capacity": 5, "dry_run": true}`, http.StatusBadRequest, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			w := b.ask(http.MethodPost, "/v1/clusters/shop/convert", tt.body, withToken)
			if w.Code != tt.status || b.machine.status.Fixed != tt.fixed {
				t.Fatalf("%d %s, fixed at %d", w.Code, w.Body, b.machine.status.Fixed)
			}
			if w.Code != http.StatusOK {
				codeOf(t, w)
				return
			}
			var c Conversion
			if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || c.Cluster != "shop" || c.MeteredACUHours != 10 || c.Currency != "USD" {
				t.Errorf("%v: %s", err, w.Body)
			}
		})
	}
	if w := newBench(t).ask(http.MethodPost, "/v1/clusters/shop/convert", `{"capacity": 8}`); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger converts: %d", w.Code)
	}
}
