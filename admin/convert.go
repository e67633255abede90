package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// Cost is what a conversion to a fixed size is compared with.
type Cost struct {
	ACUHour  float64
	Currency string
}

// Conversion is what a fixed size costs against what was metered, and whether
// it was taken.
type Conversion struct {
	Cluster         string       `json:"cluster"`
	Capacity        acu.Capacity `json:"capacity"` // 0: the configuration holds again
	From            time.Time    `json:"from"`
	To              time.Time    `json:"to"`
	Hours           float64      `json:"hours"` // from From to To
	MeteredACUHours float64      `json:"metered_acu_hours"`
	FixedACUHours   float64      `json:"fixed_acu_hours"`
	ACUHourCost     float64      `json:"acu_hour_cost"`
	MeteredCost     float64      `json:"metered_cost"`
	FixedCost       float64      `json:"fixed_cost"`
	Currency        string       `json:"currency"`
	Cheaper         string       `json:"cheaper"` // "metered" or "fixed"
	Warnings        []string     `json:"warnings"`
	Converted       bool         `json:"converted"`
}

// ConvertRequest asks for a conversion.
type ConvertRequest struct {
	Capacity  acu.Capacity `json:"capacity"`
	Burstable bool         `json:"burstable"`
	DryRun    bool         `json:"dry_run"`
	Undo      bool         `json:"undo"` // the configuration holds again
}

// steady is how long a cluster should have been metered for a comparison to
// mean something: its weekdays and its weekends.
const steady = 7 * 24 * time.Hour

// compare says what size would have cost over the time that was metered.
func compare(m cluster.Metered, r ConvertRequest, price Cost) Conversion {
	hours := max(m.To.Sub(m.From).Hours(), 0)
	c := Conversion{
		Capacity: r.Capacity, From: m.From.UTC(), To: m.To.UTC(), Hours: hours,
		MeteredACUHours: m.ACUSeconds / 3600, FixedACUHours: float64(r.Capacity) * hours,
		ACUHourCost: price.ACUHour, Currency: price.Currency, Cheaper: "metered", Warnings: []string{},
	}
	c.MeteredCost = c.MeteredACUHours * price.ACUHour
	c.FixedCost = c.FixedACUHours * price.ACUHour
	if c.FixedACUHours < c.MeteredACUHours {
		c.Cheaper = "fixed"
	}
	if m.To.Sub(m.From) < steady {
		c.Warnings = append(c.Warnings, fmt.Sprintf("the cluster has been metered for %.1f hours only: a comparison over less than a week says little", hours))
	}
	if r.Burstable {
		c.Warnings = append(c.Warnings, "a burstable class has its full CPU only while its credits last, and then a share of it (or costs more): what was metered here had its full CPU all the time; take a burstable class for development and tests")
	}
	return c
}

// convert answers the comparison, once the size was taken if that is wanted.
func (a *API) convert(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	var request ConvertRequest
	if err := body(w, r, &request); err != nil {
		return err
	}
	if request.Undo != (request.Capacity == 0) {
		return fail(http.StatusBadRequest, "invalid", "name a capacity, or undo without one")
	}
	if !request.Undo {
		if err := m.Machine.CheckSize(request.Capacity); err != nil {
			return err
		}
	}
	c := compare(m.Machine.Metered(), request, a.Cost)
	c.Cluster = m.Name
	if !request.DryRun {
		ctx, cancel := context.WithTimeout(r.Context(), actionLimit)
		defer cancel()
		if err := m.Machine.Convert(ctx, request.Capacity); err != nil {
			return err
		}
		c.Converted = true
		a.Log.Info("a cluster was converted by an operator", "cluster", m.Name, "fixed_capacity", request.Capacity)
	}
	answer(w, http.StatusOK, c)
	return nil
}
