package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"serverlessproxy/compute/command"
	"serverlessproxy/config"
)

// check is one preflight as it is printed.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

var errChecks = errors.New("not everything is as it must be")

func checkCommand() *cobra.Command {
	var file string
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Look whether everything that serving needs is there; start nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			checks := preflight(ctx, cfg)
			if err := printChecks(cmd.OutOrStdout(), format, checks); err != nil {
				return err
			}
			for _, c := range checks {
				if !c.OK {
					return errChecks
				}
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	format.flag(cmd)
	return cmd
}

func printChecks(out io.Writer, format outputFormat, checks []check) error {
	return format.print(out, checks, func(t *table) {
		t.row("CHECK", "", "DETAIL")
		for _, c := range checks {
			word, detail := "ok", c.Detail
			if !c.OK {
				word = "FAILED"
				if c.Remedy != "" {
					detail += "; " + c.Remedy
				}
			}
			t.row(c.Name, word, detail)
		}
	})
}

// preflight asks everything and stops at nothing.
func preflight(ctx context.Context, cfg *config.Config) []check {
	checks := []check{{Name: "configuration", OK: true, Detail: fmt.Sprintf("%s: %d clusters, %d listeners, %d warnings", cfg.File, len(cfg.Clusters), len(cfg.Listeners), len(cfg.Warnings))}}
	checks = append(checks, checkStateDir(cfg.StateDir), checkCertificate(cfg))
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		checks = append(checks, checkPort(ctx, "listener "+l.Protocol, l.Address))
	}
	if cfg.Admin.Address != "" {
		checks = append(checks, checkPort(ctx, "admin", cfg.Admin.Address))
	}
	for i := range cfg.Clusters {
		checks = append(checks, checkCluster(ctx, &cfg.Clusters[i], cfg.StateDir)...)
	}
	return checks
}

func checkStateDir(dir string) check {
	c := check{Name: "state directory", Detail: dir}
	for parent := dir; ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if errors.Is(err, os.ErrNotExist) && parent != "/" {
			continue
		}
		switch {
		case err != nil:
			c.Detail = err.Error()
		case !info.IsDir():
			c.Detail, c.Remedy = parent+" is not a directory", "name another state_dir"
		case syscall.Access(parent, 2) != nil:
			c.Detail, c.Remedy = parent+" cannot be written to", "run as a user who may, or name another state_dir"
		default:
			c.OK = true
		}
		return c
	}
}

func checkCertificate(cfg *config.Config) check {
	c := check{Name: "tls", OK: true, Detail: "mode " + cfg.TLS.Mode}
	if cfg.TLS.Cert == "" {
		c.Detail += ", a certificate of its own"
		return c
	}
	if _, err := loadCertificate(cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.ClientCA, cfg.StateDir, slog.New(slog.DiscardHandler)); err != nil {
		return check{Name: "tls", Detail: err.Error(), Remedy: "name a certificate and the key that belongs to it"}
	}
	c.Detail += ", certificate " + cfg.TLS.Cert
	return c
}

func checkPort(ctx context.Context, name, address string) check {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		remedy := "free the port or name another address"
		if errors.Is(err, syscall.EACCES) {
			remedy = "a port below 1024 needs root or CAP_NET_BIND_SERVICE"
		}
		return check{Name: name, Detail: err.Error(), Remedy: remedy}
	}
	l.Close()
	return check{Name: name, OK: true, Detail: address + " is free"}
}

func checkCluster(ctx context.Context, c *config.Cluster, stateDir string) []check {
	name := "cluster " + c.Name
	works, err := build(c, stateDir, slog.New(slog.DiscardHandler))
	if err != nil {
		return []check{{Name: name, Detail: err.Error()}}
	}
	defer works.closeUser.Close()
	var checks []check
	if works.local != nil {
		for _, f := range works.local.Check(ctx) {
			checks = append(checks, check{Name: name + ": " + f.Name, OK: f.OK, Detail: f.Detail, Remedy: f.Remedy})
		}
		return append(checks, checkSupported(name))
	}
	if commanded, ok := works.compute.(*command.Compute); ok {
		checks = append(checks, checkPrograms(name, &c.Compute.Commands)...)
		if running, err := commanded.Running(ctx); err != nil || !running {
			return append(checks, checkStopped(name, err))
		}
	}
	if _, err := works.source.Book(ctx, "", ""); err != nil {
		return append(checks, check{Name: name + ": server", Detail: err.Error(), Remedy: "see that the server runs, and that the service account may read its users"})
	}
	return append(checks, check{Name: name + ": server", OK: true, Detail: c.Compute.Server.Address + " answers and shows its users"})
}

// checkPrograms looks for each command's program.
func checkPrograms(name string, commands *config.Commands) []check {
	var checks []check
	for _, c := range []struct {
		key     string
		program []string
	}{{"start", commands.Start}, {"stop", commands.Stop}, {"resize", commands.Resize}, {"status", commands.Status}} {
		if len(c.program) == 0 {
			continue
		}
		one := check{Name: name + ": " + c.key + " command", Detail: c.program[0]}
		path, err := exec.LookPath(c.program[0])
		if one.OK = err == nil; one.OK {
			one.Detail = path
		} else {
			one.Detail, one.Remedy = err.Error(), "name a program that is there and executable (chmod +x), a relative path starting at the configuration file"
		}
		checks = append(checks, one)
	}
	return checks
}

// checkStopped is a server that does not run: who its users are, only its
// first start shows.
func checkStopped(name string, err error) check {
	if err != nil {
		return check{Name: name + ": server", Detail: err.Error(), Remedy: "let the status command exit with 0 (it runs) or 3 (it is stopped)"}
	}
	return check{Name: name + ": server", OK: true, Detail: "is stopped; its users are read when it runs"}
}

// checkSupported prints which versions are published as supported.
func checkSupported(name string) check {
	return check{Name: name + ": versions", OK: true, Detail: "supported: PostgreSQL 13 to 18, MariaDB 10.6 to 11.8, MySQL 8.0 to 9.7"}
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "About the configuration", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usageError{fmt.Errorf("say what to do; see %s --help", cmd.CommandPath())}
	}}
	cmd.AddCommand(&cobra.Command{
		Use:   "example",
		Short: "Print a commented configuration with every key and its default",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.Copy(cmd.OutOrStdout(), strings.NewReader(string(config.Example())))
			return err
		},
	})
	return cmd
}
