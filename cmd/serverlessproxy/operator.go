package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"serverlessproxy/admin"
	"serverlessproxy/cluster"
)

// remote is the running proxy that a command talks to.
type remote struct {
	address string
	format  outputFormat
}

// places are where a proxy's admin socket is looked for when nobody names it.
var places = []string{usualQuickDir, otherQuickDir, "/var/lib/serverlessproxy"}

func (r *remote) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.address, "admin", os.Getenv("SERVERLESSPROXY_ADMIN"),
		"the server: http://HOST:PORT, or unix:///STATE_DIR/admin.sock (default: $SERVERLESSPROXY_ADMIN, or the socket in ./serverlessproxy-data, /var/lib/serverlessproxy-quickstart or /var/lib/serverlessproxy)")
	r.format.flag(cmd)
}

// client connects. Over TCP the token comes from SERVERLESSPROXY_TOKEN.
func (r *remote) client() (*admin.Client, error) {
	address := r.address
	if address == "" {
		for _, dir := range places {
			socket, err := filepath.Abs(filepath.Join(dir, "admin.sock"))
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(socket); err == nil {
				address = "unix://" + socket
				break
			}
		}
	}
	if address == "" {
		return nil, usageError{fmt.Errorf("no running server was found: there is no admin.sock in %s; name it by --admin", strings.Join(places, " or "))}
	}
	if strings.HasPrefix(address, "/") {
		address = "unix://" + address
	}
	client, err := admin.NewClient(address, os.Getenv("SERVERLESSPROXY_TOKEN"))
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// asked turns a server's answer into an exit code of ours.
func asked(err error) error {
	var answer *admin.Error
	if errors.As(err, &answer) && (answer.Status == http.StatusGatewayTimeout || answer.Status == http.StatusRequestTimeout) {
		return fmt.Errorf("%s: %w", answer.Message, context.DeadlineExceeded)
	}
	return err
}

func operatorCommands() []*cobra.Command {
	return []*cobra.Command{statusCommand(), pauseCommand(), resumeCommand(), scaleCommand(), sessionsCommand(), killCommand(), eventsCommand(), convertCommand()}
}

// operator is a command that talks to a running proxy.
func operator(cmd *cobra.Command, do func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error) *cobra.Command {
	r := &remote{}
	r.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := r.client()
		if err != nil {
			return err
		}
		defer client.Close()
		return asked(do(cmd, r, client, args))
	}
	return cmd
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status [CLUSTER]", Short: "State, capacity, ceiling, sessions by phase, pins, next pause", Args: atMost(1)}
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		if len(args) == 1 {
			one, err := c.Cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return r.format.print(cmd.OutOrStdout(), one, func(t *table) { drawCluster(t, one) })
		}
		all, err := c.Clusters(cmd.Context())
		if err != nil {
			return err
		}
		return r.format.print(cmd.OutOrStdout(), all, func(t *table) { drawClusters(t, all) })
	})
}

func drawClusters(t *table, all []admin.Cluster) {
	t.row("CLUSTER", "ENGINE", "STATE", "ACU", "SESSIONS", "CEILING", "PARKED", "PINNED", "NEXT PAUSE")
	for _, c := range all {
		t.row(c.Name, engineOf(c), c.State, fmt.Sprintf("%d of %d–%d", c.Capacity, c.MinCapacity, c.MaxCapacity),
			strconv.Itoa(c.Sessions.Total), strconv.Itoa(c.Ceiling), strconv.Itoa(c.Sessions.Parked), strconv.Itoa(c.Sessions.Pinned), nextPause(c))
	}
}

func drawCluster(t *table, c admin.Cluster) {
	s := c.Sessions
	t.row("cluster", c.Name)
	t.row("engine", engineOf(c))
	t.row("endpoint", c.Endpoint)
	t.row("state", c.State)
	t.row("capacity", fmt.Sprintf("%d ACU (%d to %d)", c.Capacity, c.MinCapacity, c.MaxCapacity))
	t.row("ceiling", strconv.Itoa(c.Ceiling))
	t.row("sessions", fmt.Sprintf("%d: %d active, %d idle, %d in transaction, %d held, %d queued, %d parked", s.Total, s.Active, s.Idle, s.InTransaction, s.Held, s.Queued, s.Parked))
	t.row("pinned", strconv.Itoa(s.Pinned))
	t.row("backends", strconv.Itoa(c.Backends))
	t.row("next pause", nextPause(c))
	t.row("encryption", c.Encryption)
	t.row("limits", c.Limits)
	if len(c.PendingParameters) > 0 {
		t.row("parameters", "waiting for the next start: "+strings.Join(c.PendingParameters, ", "))
	}
	if c.ParametersError != "" {
		t.row("refused", "the latest parameters: "+strings.ReplaceAll(c.ParametersError, "\n", "\n\t"))
	}
	if c.LastError != "" {
		t.row("last error", strings.ReplaceAll(c.LastError, "\n", "\n\t"))
	}
}

func engineOf(c admin.Cluster) string { return strings.TrimSpace(c.Engine + " " + c.EngineVersion) }

func nextPause(c admin.Cluster) string {
	switch {
	case c.PausedSince != nil:
		return "paused since " + c.PausedSince.Local().Format(time.DateTime)
	case c.PausesAt != nil:
		return "in " + max(time.Until(*c.PausesAt), 0).Round(time.Second).String()
	}
	return "–"
}

// steering is pause and resume: they wait, and show that they do.
func steering(use, short, doing string, do func(*admin.Client, context.Context, string, time.Duration) (admin.Cluster, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(1)}
	var limit time.Duration
	cmd.Flags().DurationVar(&limit, "timeout", 0, "give up after this long (default: the server's)")
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		stop := progress(cmd.ErrOrStderr(), doing+" "+args[0])
		after, err := do(c, cmd.Context(), args[0], limit)
		stop()
		if err != nil {
			return err
		}
		return r.format.print(cmd.OutOrStdout(), after, func(t *table) { drawCluster(t, after) })
	})
}

func pauseCommand() *cobra.Command {
	return steering("pause CLUSTER", "Stop a cluster's engine; the next client resumes it", "pausing", (*admin.Client).Pause)
}

func resumeCommand() *cobra.Command {
	return steering("resume CLUSTER", "Start a cluster's engine", "resuming", (*admin.Client).Resume)
}

// progress says every few seconds that something still goes on.
func progress(out io.Writer, what string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(out, "%s … %v\n", what, time.Since(began).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions CLUSTER", Short: "Who is connected, what they do, what pins them", Args: exactly(1)}
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		all, err := c.Sessions(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return r.format.print(cmd.OutOrStdout(), all, func(t *table) {
			t.row("SESSION", "USER", "DATABASE", "CLIENT", "APPLICATION", "TLS", "PHASE", "PINNED BY", "ACTIVE", "BACKEND")
			for _, s := range all {
				t.row(s.ID, s.User, s.Database, s.ClientAddress, s.Application, s.TLS, s.Phase, strings.Join(s.PinnedBy, ","),
					s.ActiveAt.Local().Format(time.TimeOnly), strconv.FormatUint(uint64(s.BackendPID), 10))
			}
		})
	})
}

func killCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "kill SESSION", Short: "End a session", Args: exactly(1)}
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		if err := c.Kill(cmd.Context(), args[0]); err != nil {
			return err
		}
		return r.format.print(cmd.OutOrStdout(), map[string]string{"killed": args[0]}, func(t *table) { t.row("killed", args[0]) })
	})
}

func eventsCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{Use: "events CLUSTER [--follow]", Short: "What happened to a cluster", Args: exactly(1)}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new event")
	return operator(cmd, func(cmd *cobra.Command, r *remote, c *admin.Client, args []string) error {
		if follow {
			return r.follow(cmd, c, args[0])
		}
		all, err := c.Events(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return r.format.print(cmd.OutOrStdout(), all, func(t *table) {
			for _, e := range all {
				t.row(eventLine(e))
			}
		})
	})
}

// follow prints a line for each event until the operator has seen enough.
func (r *remote) follow(cmd *cobra.Command, c *admin.Client, name string) error {
	for e, err := range c.Follow(cmd.Context(), name) {
		if err != nil {
			return err
		}
		if err := r.format.printLine(cmd.OutOrStdout(), e, eventLine(e)); err != nil {
			return err
		}
	}
	return nil
}

// eventLine is an event for people.
func eventLine(e cluster.Event) string {
	line := e.Time.Local().Format(time.DateTime) + " " + e.Cluster
	if e.ID != "" {
		line += " " + e.ID
	}
	line += " " + e.Message
	if aside := e.Aside(); aside != "" {
		line += " (" + aside + ")"
	}
	return line
}
