package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// How long a client waits for a paused cluster: from its first byte to its first
// answer, beside a start of the same engine, over a copy of the same files, until
// it answers its first query. The crowd connects all at once.

// sleeper is one of the two clusters of a quickstart.
type sleeper struct {
	name, driver string
	crowd        int
	owner        string
	stop         syscall.Signal
	endpoint     string   // data source name
	direct       string   // the same of the engine started by hand
	command      []string // that starts it
}

// resumes measures and returns a table.
func resumes(ctx context.Context, o options, dir string) (string, error) {
	state := filepath.Join(dir, "resume")
	admin := fmt.Sprintf("127.0.0.1:%d", freePort())
	b := &bed{dir: dir}
	defer b.stop()
	if _, err := b.start("quickstart", exec.Command(o.binary, "quickstart", "--dir", state, "--admin-address", admin,
		"--postgres-address", fmt.Sprintf("127.0.0.1:%d", freePort()), "--mysql-address", fmt.Sprintf("127.0.0.1:%d", freePort()))); err != nil {
		return "", err
	}
	pause := func(s *sleeper) error {
		out, err := exec.CommandContext(ctx, o.binary, "pause", s.name, "--admin", "unix://"+state+"/admin.sock").CombinedOutput()
		if err != nil {
			return fmt.Errorf("pause %s: %w: %s", s.name, err, tail(out))
		}
		return nil
	}
	sleepers := []*sleeper{
		{name: "pg", driver: "pgx", crowd: 200, owner: "postgres", stop: syscall.SIGINT},
		{name: "my", driver: "mysql", crowd: 100, owner: "mysql", stop: syscall.SIGTERM},
	}
	for _, s := range sleepers {
		if err := s.prepare(ctx, dir, state, pause); err != nil {
			return "", err
		}
	}
	waits := map[string][]float64{}
	for range o.rounds {
		for _, s := range sleepers {
			ms, err := s.startDirect(ctx)
			if err != nil {
				return "", fmt.Errorf("start %s directly: %w", s.name, err)
			}
			waits[s.name+" direct"] = append(waits[s.name+" direct"], ms)
			for _, clients := range []int{1, s.crowd} {
				if err := pause(s); err != nil {
					return "", err
				}
				first, last, err := s.connect(ctx, clients)
				if err != nil {
					return "", fmt.Errorf("%d clients of %s: %w", clients, s.name, err)
				}
				name := fmt.Sprintf("%s %d", s.name, clients)
				waits[name+" first"], waits[name+" last"] = append(waits[name+" first"], first), append(waits[name+" last"], last)
			}
			log.Printf("%s: %v", s.name, waits)
		}
	}
	var t strings.Builder
	fmt.Fprintf(&t, "Medians of %d rounds [lowest–highest], milliseconds.\n\n| what | PostgreSQL | MariaDB |\n|---|---|---|\n", o.rounds)
	cell := func(name string) string {
		v := sorted(waits[name])
		return fmt.Sprintf("%.0f [%.0f–%.0f]", median(v), v[0], v[len(v)-1])
	}
	pg, my := sleepers[0], sleepers[1]
	fmt.Fprintf(&t, "| the engine's own start, to its first answer | %s | %s |\n", cell("pg direct"), cell("my direct"))
	fmt.Fprintf(&t, "| one client at a paused cluster, to its answer | %s | %s |\n", cell("pg 1 first"), cell("my 1 first"))
	fmt.Fprintf(&t, "| %d and %d clients at once: the first answer | %s | %s |\n", pg.crowd, my.crowd, cell(fmt.Sprintf("pg %d first", pg.crowd)), cell(fmt.Sprintf("my %d first", my.crowd)))
	fmt.Fprintf(&t, "| … the last answer | %s | %s |\n", cell(fmt.Sprintf("pg %d last", pg.crowd)), cell(fmt.Sprintf("my %d last", my.crowd)))
	return t.String(), nil
}

// prepare learns how the cluster's engine is started, and copies its files.
func (s *sleeper) prepare(ctx context.Context, dir, state string, pause func(*sleeper) error) error {
	var link *url.URL
	err := await(ctx, "quickstart names no "+s.name, func() (err error) {
		printed, _ := os.ReadFile(filepath.Join(dir, "quickstart.log"))
		for line := range strings.Lines(string(printed)) {
			scheme, _, _ := strings.Cut(line, "://")
			if scheme == map[string]string{"pg": "postgres", "my": "mysql"}[s.name] {
				link, err = url.Parse(strings.TrimSpace(line))
				return err
			}
		}
		return fmt.Errorf("it has printed:\n%s", tail(printed))
	})
	if err != nil {
		return err
	}
	home := filepath.Join(state, "clusters", s.name)
	s.command = commandWith(home)
	if s.command == nil {
		return fmt.Errorf("no engine of %s runs", s.name)
	}
	copied := filepath.Join(dir, "direct-"+s.name)
	secret, _ := link.User.Password()
	if s.driver == "pgx" {
		s.endpoint = link.String() + "?sslmode=disable"
		s.direct = fmt.Sprintf("host=%s/run user=app password=%s dbname=app sslmode=disable", copied, secret)
	} else {
		c := mysql.NewConfig()
		c.User, c.Passwd, c.DBName, c.Net, c.Addr = "app", secret, "app", "tcp", link.Host
		s.endpoint = c.FormatDSN()
		c.Net, c.Addr = "unix", copied+"/run/mysqld.sock"
		s.direct = c.FormatDSN()
	}
	for i, word := range s.command {
		s.command[i] = strings.ReplaceAll(word, home, copied)
	}
	script := fmt.Sprintf("mkdir %[2]s && cp -a %[1]s/run %[2]s/run && rm -f %[2]s/run/.s.* %[2]s/run/*.sock && "+
		"find %[2]s/run -type f -exec sed -i 's#%[1]s#%[2]s#g' {} +", home, copied)
	if out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the run directory: %w: %s", err, tail(out))
	}
	if err := pause(s); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", home+"/data", copied+"/data").CombinedOutput(); err != nil {
		return fmt.Errorf("copy the data: %w: %s", err, tail(out))
	}
	return nil
}

// commandWith is the command line of the process that was started with a
// directory in it, without the proxy's own.
func commandWith(home string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if len(words) > 2 && strings.Contains(string(text), home+"/data") {
			return words
		}
	}
	return nil
}

// startDirect starts the copied engine, and stops it again.
func (s *sleeper) startDirect(ctx context.Context) (ms float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	begin := time.Now()
	engine := as(s.owner, exec.Command(s.command[0], s.command[1:]...))
	if err := engine.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = engine.Wait() }()
	defer func() { _ = engine.Process.Signal(s.stop) }()
	for {
		if err = ask(ctx, s.driver, s.direct); err == nil || ctx.Err() != nil {
			return float64(time.Since(begin).Microseconds()) / 1000, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// connect has clients connect at once; first and last are when an answer was
// there, in milliseconds.
func (s *sleeper) connect(ctx context.Context, clients int) (first, last float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := time.Now()
	for range clients {
		all.Go(func() {
			failed := ask(ctx, s.driver, s.endpoint)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			}
			last = float64(time.Since(begin).Microseconds()) / 1000
			if first == 0 {
				first = last
			}
		})
	}
	all.Wait()
	return first, last, err
}

// ask connects, asks one query and leaves.
func ask(ctx context.Context, driver, name string) error {
	db, err := sql.Open(driver, name)
	if err != nil {
		return err
	}
	defer db.Close()
	var answer int
	if err := db.QueryRowContext(ctx, "select 42").Scan(&answer); err != nil {
		return err
	}
	if answer != 42 {
		return fmt.Errorf("the answer is %d", answer)
	}
	return nil
}
