package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"serverlessproxy/acu"
	"serverlessproxy/admin"
)

func scaleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "scale CLUSTER --capacity N", Short: "Change a cluster's capacity; one that is paused is resumed", Args: exactly(1)}
	var (
		request admin.CapacityRequest
		to      int
	)
	flags := cmd.Flags()
	flags.IntVar(&to, "capacity", 0, "the new capacity, in ACU")
	flags.IntVar(&request.SecondsBeforeTimeout, "seconds-before-timeout", 0, "how long to look for a scaling point, 10 to 600 (default: as configured)")
	flags.StringVar(&request.TimeoutAction, "timeout-action", "", "then: RollbackCapacityChange or ForceApplyCapacityChange (default: as configured)")
	flags.BoolVar(&request.DryRun, "dry-run", false, "say what would change, and change nothing")
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		if to <= 0 {
			return usageError{fmt.Errorf("--capacity: say how many ACU; see %s --help", cmd.CommandPath())}
		}
		request.Capacity = acu.Capacity(to)
		if request.DryRun {
			plan, err := c.Plan(cmd.Context(), args[0], request)
			if err != nil {
				return misasked(err)
			}
			return r.format.print(cmd.OutOrStdout(), plan, func(t *table) { drawPlan(t, plan) })
		}
		stop := progress(cmd.ErrOrStderr(), fmt.Sprintf("scaling %s to %d ACU", args[0], to))
		began := time.Now()
		after, err := c.Scale(cmd.Context(), args[0], request)
		stop()
		if err != nil {
			return misasked(err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "done in %v\n", time.Since(began).Round(time.Millisecond))
		return r.format.print(cmd.OutOrStdout(), after, func(t *table) { drawCluster(t, after) })
	})
}

// misasked makes wrong use of what the server calls so.
func misasked(err error) error {
	var answer *admin.Error
	if errors.As(err, &answer) && answer.Status == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}

func drawPlan(t *table, plan admin.Plan) {
	how := "in place: no session notices"
	if plan.Method == "restart" {
		how = "by a restart, at a moment when no session is in a transaction"
	}
	t.row("from", fmt.Sprintf("%d ACU", plan.From))
	t.row("to", fmt.Sprintf("%d ACU", plan.To))
	t.row("how", how)
	for _, s := range plan.InPlace {
		t.row("in place", s.Setting, s.From+" → "+s.To)
	}
	for _, s := range plan.Restart {
		t.row("at a start", s.Setting, s.From+" → "+s.To)
	}
	for _, s := range plan.Pinned {
		t.row("pinned", s.ID, strings.Join(s.PinnedBy, ", "))
	}
}
