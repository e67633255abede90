package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// CapacityRequest is the body of a change of capacity.
type CapacityRequest struct {
	Capacity             acu.Capacity `json:"capacity"`
	SecondsBeforeTimeout int          `json:"seconds_before_timeout,omitempty"` // 0: as configured
	TimeoutAction        string       `json:"timeout_action,omitempty"`         // "": as configured
	DryRun               bool         `json:"dry_run,omitempty"`
}

// Plan is what a change of capacity would do, in the API.
type Plan struct {
	From    acu.Capacity    `json:"from"`
	To      acu.Capacity    `json:"to"`
	Method  string          `json:"method"`   // inplace or restart
	InPlace []SettingChange `json:"in_place"` // while the engine runs
	Restart []SettingChange `json:"restart"`  // at its next start, which is part of the change if method says so
	Pinned  []Holdout       `json:"pinned"`   // who would hold a restart up now
}

// SettingChange is what becomes of one of the engine's settings.
type SettingChange = cluster.SettingChange

const (
	shortestChange = 10 * time.Second
	longestChange  = 600 * time.Second
)

func (a *API) capacity(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	var asked CapacityRequest
	if err := body(w, r, &asked); err != nil {
		return err
	}
	if asked.DryRun {
		return a.plan(w, r, m, asked)
	}
	request, err := asked.request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), longestChange+actionLimit)
	defer cancel()
	if err := m.Machine.Scale(ctx, request); err != nil {
		return notScaled(err)
	}
	answer(w, http.StatusOK, m.view())
	return nil
}

func (c CapacityRequest) request() (cluster.Request, error) {
	limit := time.Duration(c.SecondsBeforeTimeout) * time.Second
	if limit != 0 && (limit < shortestChange || limit > longestChange) {
		return cluster.Request{}, fail(http.StatusBadRequest, "invalid", "seconds_before_timeout %d is not between 10 and 600", c.SecondsBeforeTimeout)
	}
	action := cluster.TimeoutAction(c.TimeoutAction)
	switch action {
	case "", cluster.RollbackChange, cluster.ForceChange:
	default:
		return cluster.Request{}, fail(http.StatusBadRequest, "invalid", "timeout_action %q is not known; %s or %s", c.TimeoutAction, cluster.RollbackChange, cluster.ForceChange)
	}
	return cluster.Request{Capacity: c.Capacity, Timeout: limit, Action: action}, nil
}

// notScaled says of holdouts that they kept the capacity as it was.
func notScaled(err error) error {
	var holdouts *cluster.Holdouts
	if !errors.As(err, &holdouts) {
		return err
	}
	e := pinned(holdouts)
	e.Message = fmt.Sprintf("the capacity was not changed, no scaling point was found in time: %v: %s; wait for them, end them with `serverlessproxy kill SESSION`, or ask for %s",
		holdouts, e.who(), cluster.ForceChange)
	return e
}

func (a *API) plan(w http.ResponseWriter, r *http.Request, m Managed, asked CapacityRequest) error {
	ctx, cancel := context.WithTimeout(r.Context(), actionLimit)
	defer cancel()
	p, err := m.Machine.Plan(ctx, asked.Capacity)
	if err != nil {
		return err
	}
	plan := Plan{From: p.From, To: p.To, Method: string(p.Mode), InPlace: p.Live, Restart: p.AtStart}
	for _, s := range m.Occupants.Sessions() {
		if len(s.PinnedBy) > 0 {
			plan.Pinned = append(plan.Pinned, Holdout{ID: s.ID, PinnedBy: s.PinnedBy})
		}
	}
	answer(w, http.StatusOK, plan.complete())
	return nil
}

// complete has a list where there is nothing to list.
func (p Plan) complete() Plan {
	if p.InPlace == nil {
		p.InPlace = []SettingChange{}
	}
	if p.Restart == nil {
		p.Restart = []SettingChange{}
	}
	if p.Pinned == nil {
		p.Pinned = []Holdout{}
	}
	return p
}

// Scale changes a cluster's capacity and waits for it.
func (c *Client) Scale(ctx context.Context, name string, request CapacityRequest) (after Cluster, err error) {
	request.DryRun = false
	err = c.call(ctx, http.MethodPost, "/v1/clusters/"+url.PathEscape(name)+"/capacity", request, &after)
	return after, err
}

// Plan says what that would do.
func (c *Client) Plan(ctx context.Context, name string, request CapacityRequest) (plan Plan, err error) {
	request.DryRun = true
	err = c.call(ctx, http.MethodPost, "/v1/clusters/"+url.PathEscape(name)+"/capacity", request, &plan)
	return plan, err
}
