package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"serverlessproxy/cluster"
	"serverlessproxy/config"
)

// shutdownTimeout bounds the stop of everything, draining included.
const shutdownTimeout = 3 * time.Minute

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Serve the clusters of a configuration; SIGTERM drains and stops, SIGHUP reloads",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, nil)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "the configuration file")
}

func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return nil, usageError{errors.New("--config FILE is missing; `serverlessproxy config example` prints one to start from")}
	}
	cfg, err := config.Load(file)
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// quick is what a quickstart adds to serving: it moves taken ports, lets
// flags choose addresses, and prints what a person needs.
type quick struct {
	out     io.Writer
	options config.QuickstartOptions
}

// serve runs everything until ctx ends, then drains and stops it.
func serve(ctx context.Context, cfg *config.Config, q *quick) error {
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := newLogger(os.Stderr, cfg.Log.Format, level)
	for _, warning := range cfg.Warnings {
		log.Warn(warning.Error())
	}
	unlock, err := claim(cfg.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := newServer(ctx, cfg, q, log)
	if err != nil {
		return err
	}
	s.level = level
	s.start(ctx)
	if q != nil {
		q.greet(s)
	}
	s.untilStopped(ctx)
	log.Info("stopping: what runs may finish", "limit", cfg.Limits.DrainTimeout)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	draining, hurry := context.WithTimeout(stopping, cfg.Limits.DrainTimeout)
	var hearing sync.WaitGroup
	defer hearing.Wait()
	defer hurry()
	hearing.Go(func() { hurryAtSignal(draining, hurry, log) })
	s.stop(stopping, draining)
	log.Info("stopped")
	return nil
}

// hurryAtSignal ends the drain at the next Ctrl-C or SIGTERM: the engines are
// still stopped cleanly. It ends with the drain.
func hurryAtSignal(draining context.Context, hurry func(), log *slog.Logger) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	select {
	case <-again:
		log.Warn("stopping at once: sessions are cut, the engines still stop cleanly")
		hurry()
	case <-draining.Done():
	}
}

// untilStopped reloads at each SIGHUP, until ctx ends.
func (s *server) untilStopped(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			s.reload(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func newLogger(to io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// claim makes the state directory and keeps a second proxy out of it.
func claim(dir string) (release func(), err error) {
	// The engines' users pass through to their own folders.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another serverlessproxy serves from %s: stop it, or use another state directory", dir)
	}
	return func() { file.Close() }, nil
}

// greet prints what a person needs to connect, and then each event.
func (q *quick) greet(s *server) {
	for i := range s.config.Listeners {
		l := &s.config.Listeners[i]
		url, err := connectionURL(s.config.Cluster(l.Cluster), s.doors[i].Addr().String())
		if err != nil {
			s.log.Error("cannot print the connection string", "error", err)
			continue
		}
		fmt.Fprintln(q.out, url)
	}
	fmt.Fprintf(q.out, "http://%s/\n", s.adminAddress)
	events := make(chan cluster.Event)
	for _, m := range s.members {
		s.tasks.Go(func() { m.forwardEvents(s.living, events) })
	}
	s.tasks.Go(func() { q.printEvents(s.living, events) })
}

func (m *member) forwardEvents(ctx context.Context, to chan<- cluster.Event) {
	known := len(m.cluster.Events())
	for event := range m.cluster.Follow(ctx) {
		if known > 0 { // of earlier runs
			known--
			continue
		}
		select {
		case to <- event:
		case <-ctx.Done():
			return
		}
	}
}

func (q *quick) printEvents(ctx context.Context, from <-chan cluster.Event) {
	for {
		select {
		case e := <-from:
			fmt.Fprintln(q.out, eventLine(e))
		case <-ctx.Done():
			return
		}
	}
}

// together calls f for every member at once and waits for all.
func together(members []*member, f func(*member)) {
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() { f(m) })
	}
	all.Wait()
}
