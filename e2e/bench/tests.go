package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// test is one load. run returns what it reached in its unit, and how many
// units of work (100,000 queries, 10 GB) it was.
type test struct {
	name, protocol, unit, per string
	run                       func(ctx context.Context, t target, seconds int) (value, work float64, err error)
}

var tests = []test{
	pgbench("pg-simple-c1", "-M", "simple", "-c", "1"),
	pgbench("pg-simple-c16", "-M", "simple", "-c", "16"),
	pgbench("pg-ext-c1", "-M", "extended", "-c", "1"),
	pgbench("pg-ext-c16", "-M", "extended", "-c", "16"),
	pgbench("pg-prep-c1", "-M", "prepared", "-c", "1"),
	pgbench("pg-prep-c16", "-M", "prepared", "-c", "16"),
	pgbenchTLS("pg-tls-prep-c16", "-M", "prepared", "-c", "16"),
	pgbench("pg-connect-c8", "-C", "-c", "8"),
	psql("pg-result", `select repeat('x', 100), g, g, g from generate_series(1, 1000000) g`),
	psql("pg-copy-out", `copy (select repeat('x', 100), g, g, g from generate_series(1, 1000000) g) to stdout`),
	copyIn("pg-copy-in"),
	sysbench("my-point-c1", "oltp_point_select", "auto", 1),
	sysbench("my-point-c16", "oltp_point_select", "auto", 16),
	sysbench("my-point-text-c1", "oltp_point_select", "disable", 1),
	sysbench("my-point-text-c16", "oltp_point_select", "disable", 16),
	sysbench("my-rw-c1", "oltp_read_write", "auto", 1),
	sysbench("my-rw-c16", "oltp_read_write", "auto", 16),
	sysbench("my-rw-text-c16", "oltp_read_write", "disable", 16),
	slap("my-connect-c8"),
	myResult("my-result"),
	released(pgbench("pg-simple-c1", "-M", "simple", "-c", "1")),
	released(pgbench("pg-simple-c16", "-M", "simple", "-c", "16")),
	released(pgbench("pg-ext-c16", "-M", "extended", "-c", "16")),
	released(pgbench("pg-prep-c16", "-M", "prepared", "-c", "16")),
	released(sysbench("my-point-c1", "oltp_point_select", "auto", 1)),
	released(sysbench("my-point-c16", "oltp_point_select", "auto", 16)),
}

// released is a test through a proxy whose sessions are parked at every safe
// point: each query costs a park and a restore.
func released(t test) test {
	run, protocol := t.run, t.protocol
	t.name, t.protocol = t.name+"-release0", protocol+release0
	t.run = func(ctx context.Context, through target, seconds int) (float64, float64, error) {
		through.addresses = map[string]string{protocol: through.addresses[protocol+release0]}
		return run(ctx, through, seconds)
	}
	return t
}

// release0 marks the addresses of what releases at every safe point.
const release0 = ", release_after: 0"

// slap has 8 clients of MariaDB connect for each query. They do not ask for TLS,
// which only this proxy offers here: the client reads the system's certificates
// for each connection, 40 ms.
func slap(name string) test {
	const queries = 2000
	return test{name, "mysql", "tps", "100,000 queries", func(ctx context.Context, t target, seconds int) (float64, float64, error) {
		host, port, _ := strings.Cut(t.addresses["mysql"], ":")
		begin, done := time.Now(), 0.0
		for time.Since(begin) < time.Duration(seconds)*time.Second {
			out, err := exec.CommandContext(ctx, "mariadb-slap", "--no-defaults", "--skip-ssl", "-h", host, "-P", port, "-u", "app", "-p"+password, "--create-schema=app", "--no-drop",
				"--concurrency=8", "--detach=1", "--query=select 1", "--number-of-queries="+strconv.Itoa(queries)).CombinedOutput()
			if err != nil {
				return 0, 0, fmt.Errorf("%w: %s", err, tail(out))
			}
			done += queries
		}
		return done / time.Since(begin).Seconds(), done / 1e5, nil
	}}
}

func testNamed(name string) test {
	for _, t := range tests {
		if t.name == name {
			return t
		}
	}
	return test{}
}

func pgEnv(t target) []string {
	host, port, _ := strings.Cut(t.addresses["postgres"], ":")
	return append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=app", "PGPASSWORD="+password, "PGDATABASE=app", "PGSSLMODE=disable", "PGGSSENCMODE=disable")
}

var (
	tpsLine          = regexp.MustCompile(`tps = ([0-9.]+)`)
	transactionsLine = regexp.MustCompile(`number of transactions actually processed: ([0-9]+)`)
	queriesLine      = regexp.MustCompile(`queries: +([0-9]+) +\(([0-9.]+) per sec`)
)

func pgbench(name string, args ...string) test {
	return pgbenchEnv(name, nil, args...)
}

func pgbenchTLS(name string, args ...string) test {
	return pgbenchEnv(name, []string{"PGSSLMODE=require"}, args...)
}

func pgbenchEnv(name string, env []string, args ...string) test {
	return test{name, "postgres", "tps", "100,000 queries", func(ctx context.Context, t target, seconds int) (float64, float64, error) {
		if len(env) > 0 && !t.tls {
			return 0, 0, fmt.Errorf("no TLS here")
		}
		cmd := exec.CommandContext(ctx, "pgbench", append([]string{"-n", "-S", "-T", strconv.Itoa(seconds)}, args...)...)
		cmd.Env = append(pgEnv(t), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, tail(out))
		}
		return number(tpsLine, out, 1), number(transactionsLine, out, 1) / 1e5, nil
	}}
}

func sysbench(name, script, ps string, threads int) test {
	return test{name, "mysql", "qps", "100,000 queries", func(ctx context.Context, t target, seconds int) (float64, float64, error) {
		cmd := exec.CommandContext(ctx, "sysbench", append(sysbenchArgs(t, script),
			"--db-ps-mode="+ps, "--threads="+strconv.Itoa(threads), "--time="+strconv.Itoa(seconds), "run")...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, tail(out))
		}
		return number(queriesLine, out, 2), number(queriesLine, out, 1) / 1e5, nil
	}}
}

func sysbenchArgs(t target, script string) []string {
	host, port, _ := strings.Cut(t.addresses["mysql"], ":")
	return []string{script, "--db-driver=mysql", "--mysql-host=" + host, "--mysql-port=" + port, "--mysql-user=app", "--mysql-password=" + password,
		"--mysql-db=app", "--tables=4", "--table-size=50000"}
}

// counted is a writer that only counts.
type counted struct{ bytes int64 }

func (c *counted) Write(p []byte) (int, error) { c.bytes += int64(len(p)); return len(p), nil }

// bulk repeats a command that prints much until the time is over.
func bulk(name, protocol string, command func(ctx context.Context, t target) *exec.Cmd) test {
	return test{name, protocol, "MB/s", "10 GB", func(ctx context.Context, t target, seconds int) (float64, float64, error) {
		var got counted
		begin := time.Now()
		for time.Since(begin) < time.Duration(seconds)*time.Second {
			cmd := command(ctx, t)
			var errors bytes.Buffer
			cmd.Stdout, cmd.Stderr = &got, &errors
			if err := cmd.Run(); err != nil {
				return 0, 0, fmt.Errorf("%w: %s", err, tail(errors.Bytes()))
			}
		}
		megabytes := float64(got.bytes) / 1e6
		return megabytes / time.Since(begin).Seconds(), megabytes / 1e4, nil
	}}
}

func psql(name, query string) test {
	return bulk(name, "postgres", func(ctx context.Context, t target) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "psql", "-XAtqc", query)
		cmd.Env = pgEnv(t)
		return cmd
	})
}

func myResult(name string) test {
	return bulk(name, "mysql", func(ctx context.Context, t target) *exec.Cmd {
		host, port, _ := strings.Cut(t.addresses["mysql"], ":")
		return exec.CommandContext(ctx, "mariadb", "--no-defaults", "--quick", "-N", "-h", host, "-P", port, "-u", "app", "-p"+password, "app",
			"-e", "select repeat('x', 100), seq, seq, seq from seq_1_to_1000000")
	})
}

const copyRows = 1_000_000

// rows is endless input for COPY, ended after a number of rows.
type rows struct {
	left int
	rest []byte
	read int64
}

var row = []byte(strings.Repeat("x", 100) + "\t123456\n")

func (r *rows) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.rest) == 0 {
			if r.left == 0 {
				break
			}
			r.left--
			r.rest = row
		}
		k := copy(p[n:], r.rest)
		r.rest = r.rest[k:]
		n += k
	}
	r.read += int64(n)
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func copyIn(name string) test {
	return test{name, "postgres", "MB/s", "10 GB", func(ctx context.Context, t target, seconds int) (float64, float64, error) {
		var sent int64
		begin := time.Now()
		for time.Since(begin) < time.Duration(seconds)*time.Second {
			input := &rows{left: copyRows}
			cmd := exec.CommandContext(ctx, "psql", "-Xqc", "create temp table t (a text, b int)", "-c", "copy t from stdin")
			cmd.Env, cmd.Stdin = pgEnv(t), input
			if out, err := cmd.CombinedOutput(); err != nil {
				return 0, 0, fmt.Errorf("%w: %s", err, tail(out))
			}
			sent += input.read
		}
		megabytes := float64(sent) / 1e6
		return megabytes / time.Since(begin).Seconds(), megabytes / 1e4, nil
	}}
}

func number(pattern *regexp.Regexp, out []byte, group int) float64 {
	match := pattern.FindSubmatch(out)
	if match == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(match[group]), 64)
	return v
}

func tail(out []byte) string {
	text := strings.TrimSpace(string(out))
	if len(text) > 600 {
		text = "…" + text[len(text)-600:]
	}
	return text
}
