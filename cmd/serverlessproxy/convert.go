package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"serverlessproxy/acu"
	"serverlessproxy/admin"
)

func convertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert CLUSTER --capacity N [--burstable] [--dry-run]",
		Short: "Make a cluster one of a fixed size, or say what that would cost",
		Long: `Compares what the cluster used in the last 30 days (or since it is metered)
with a fixed size, at cost.acu_hour of the configuration. Without --dry-run the
cluster then runs at that size, does not pause and does not scale, over restarts
of the proxy too, whatever its configuration says, until --undo.`,
		Args: exactly(1),
	}
	var request admin.ConvertRequest
	var capacity int
	cmd.Flags().IntVar(&capacity, "capacity", 0, "the size, in ACU")
	cmd.Flags().BoolVar(&request.Burstable, "burstable", false, "the size is one of a burstable class")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "compare only")
	cmd.Flags().BoolVar(&request.Undo, "undo", false, "have the configuration hold again")
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		request.Capacity = acu.Capacity(capacity)
		if request.Undo == (capacity != 0) {
			return usageError{errors.New("say --capacity N, or --undo without it")}
		}
		stop := progress(cmd.ErrOrStderr(), "converting "+args[0])
		done, err := c.Convert(cmd.Context(), args[0], request)
		stop()
		if err != nil {
			return err
		}
		for _, warning := range done.Warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
		}
		return r.format.print(cmd.OutOrStdout(), done, func(t *table) { drawConversion(t, done) })
	})
}

func drawConversion(t *table, c admin.Conversion) {
	t.row("cluster", c.Cluster)
	t.row("metered", c.From.Local().Format(time.DateTime)+" to "+c.To.Local().Format(time.DateTime))
	t.row("used", fmt.Sprintf("%.2f ACU-hours", c.MeteredACUHours), money(c.MeteredCost, c))
	if c.Capacity == 0 {
		t.row("converted", "the configuration holds again")
		return
	}
	t.row(fmt.Sprintf("fixed at %d ACU", c.Capacity), fmt.Sprintf("%.2f ACU-hours", c.FixedACUHours), money(c.FixedCost, c))
	t.row("cheaper", c.Cheaper)
	if c.Converted {
		t.row("converted", fmt.Sprintf("it runs at %d ACU, and neither pauses nor scales", c.Capacity))
		return
	}
	t.row("converted", "no: a dry run")
}

func money(amount float64, c admin.Conversion) string {
	return fmt.Sprintf("%.2f %s", amount, c.Currency)
}
