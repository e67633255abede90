package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"serverlessproxy/config"
)

func quickstartCommand() *cobra.Command {
	o := config.QuickstartOptions{}
	dir := quickDir()
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Make empty clusters in a directory and serve them; started again, serve what is there",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := prepareQuickstart(dir, o)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, &quick{out: cmd.OutOrStdout(), options: o})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.Engines, "engine", nil, "postgres, mysql or mariadb; may be repeated (default: postgres and mysql)")
	flags.StringVar(&dir, "dir", dir, "where everything is kept")
	flags.StringVar(&o.PostgresAddress, "postgres-address", "", "where PostgreSQL clients connect (default 127.0.0.1:5432)")
	flags.StringVar(&o.MySQLAddress, "mysql-address", "", "where MySQL clients connect (default 127.0.0.1:3306)")
	flags.StringVar(&o.AdminAddress, "admin-address", "", "status page, metrics and API (default 127.0.0.1:9630)")
	flags.IntVar(&o.MinCapacity, "min-capacity", 0, "lowest capacity in ACU (default 2)")
	flags.IntVar(&o.MaxCapacity, "max-capacity", 0, "highest capacity in ACU (default 16)")
	flags.IntVar(&o.SecondsUntilAutoPause, "seconds-until-auto-pause", 0, "pause after this long without work (default 300)")
	return cmd
}

const (
	usualQuickDir = "serverlessproxy-data"
	otherQuickDir = "/var/lib/serverlessproxy-quickstart"
)

// quickDir is where a quickstart keeps everything unless it is told: below
// the working directory, or, where the engines' users cannot enter that
// (root's home), in a place that they can.
func quickDir() string {
	here, err := os.Getwd()
	if err != nil || os.Getuid() != 0 || entered(here) {
		return usualQuickDir
	}
	return otherQuickDir
}

// entered tells whether everybody may pass through a directory and all above.
func entered(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// prepareQuickstart makes what a quickstart directory lacks, and loads its
// configuration.
func prepareQuickstart(dir string, o config.QuickstartOptions) (*config.Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "serverlessproxy.yaml")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := makeQuickstart(dir, file, o); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("open quickstart directory: %w", err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// makeQuickstart writes the configuration last: a directory with one is
// complete.
func makeQuickstart(dir, file string, o config.QuickstartOptions) error {
	if len(o.Engines) == 0 {
		o.Engines = []string{"postgres", "mysql"}
	}
	for i, name := range o.Engines {
		if name == "mysql" && haveMariaDB() {
			o.Engines[i] = "mariadb"
		}
	}
	text, err := config.Quickstart(o)
	if err != nil {
		return usageError{err}
	}
	// The engines' users must reach their own folders below it.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make quickstart directory: %w", err)
	}
	for _, name := range []string{"pg", "my"} {
		if _, err := keptSecret(filepath.Join(dir, name+".password")); err != nil {
			return fmt.Errorf("make password: %w", err)
		}
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return os.Rename(file+".new", file)
}

func haveMariaDB() bool {
	for _, name := range []string{"mariadbd", "/usr/sbin/mariadbd"} {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

// nextFreePort is the first free port after a taken address's, on its host.
func nextFreePort(address string) (string, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	port, err := net.LookupPort("tcp", text)
	if err != nil {
		return "", err
	}
	for next := port + 1; next <= min(port+1000, 65535); next++ {
		candidate := net.JoinHostPort(host, fmt.Sprint(next))
		if l, err := net.Listen("tcp", candidate); err == nil {
			l.Close()
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no free port from %d on", port)
}

// connectionURL is what a client pastes.
func connectionURL(c *config.Cluster, address string) (string, error) {
	secret, err := os.ReadFile(c.Master.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read master password: %w", err)
	}
	return fmt.Sprintf("%s://%s:%s@%s/%s", c.Protocol, c.Master.User, strings.TrimSpace(string(secret)), address, c.Master.Database), nil
}
