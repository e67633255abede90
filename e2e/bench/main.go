// Command bench compares serverlessproxy with its peers: the engine reached
// directly, through this proxy, through pgbouncer (session mode) and through
// haproxy (tcp mode), all before the same servers, in turns.
//
// It prints a table: the median ratio to direct with its range, the median
// value, and the CPU seconds that the proxy spent per 100,000 queries (bulk
// rows: per 10 GB).
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds  int
	seconds int
	only    *regexp.Regexp
	binary  string
	output  string
}

func main() {
	log.SetFlags(log.Ltime)
	var o options
	var only string
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.IntVar(&o.seconds, "seconds", 5, "seconds of each run")
	flag.StringVar(&only, "only", ".", "run the tests whose name matches; resume: only how long a paused cluster's client waits")
	flag.StringVar(&o.binary, "binary", "bin/serverlessproxy", "the proxy")
	flag.StringVar(&o.output, "o", "", "write the table to this file too")
	flag.Parse()
	o.only = regexp.MustCompile(only)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, table := range map[string]func(context.Context, options, string) (string, error){"resume": resumes, "park": parks} {
		if o.only.String() == name {
			text, err := table(ctx, o, dir)
			fmt.Print(text)
			return err
		}
	}
	bed, err := newBed(ctx, dir, o.binary)
	if err != nil {
		bed.stop()
		return err
	}
	defer bed.stop()

	results := map[string]map[string][]sample{}
	var order []string
	for _, t := range tests {
		if o.only.MatchString(t.name) {
			order = append(order, t.name)
			results[t.name] = map[string][]sample{}
		}
	}
	for round := range o.rounds {
		for _, t := range tests {
			if results[t.name] == nil {
				continue
			}
			for i := range bed.targets {
				target := bed.targets[(i+round)%len(bed.targets)]
				address := target.addresses[t.protocol]
				if address == "" {
					continue
				}
				s, err := measure(ctx, t, target, o.seconds)
				if err != nil {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					log.Printf("round %d %s through %s: %v", round+1, t.name, target.name, err)
					continue
				}
				log.Printf("round %d %-16s %-12s %10.1f %s, cpu %.2f s per %s", round+1, t.name, target.name, s.value, t.unit, s.cpu, t.per)
				results[t.name][target.name] = append(results[t.name][target.name], s)
			}
		}
	}
	table := render(order, results, bed.targets, o)
	fmt.Print(table)
	if o.output != "" {
		return os.WriteFile(o.output, []byte(table), 0o644)
	}
	return nil
}

// measure runs one test through one target and counts the CPU time that the
// target's processes spent on it.
func measure(ctx context.Context, t test, target target, seconds int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+time.Minute)
	defer cancel()
	before := cpuSeconds(target.pids)
	value, work, err := t.run(ctx, target, seconds)
	if err != nil {
		return sample{}, err
	}
	return sample{value: value, cpu: (cpuSeconds(target.pids) - before) / work}, nil
}

func render(order []string, results map[string]map[string][]sample, targets []target, o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d interleaved rounds of %d s: ratio to direct [lowest–highest], value, CPU seconds of the proxy per 100,000 queries (MB/s rows: per 10 GB).\n\n", o.rounds, o.seconds)
	b.WriteString("| test | unit |")
	for _, t := range targets {
		fmt.Fprintf(&b, " %s |", t.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(targets)) + "\n")
	for _, name := range order {
		t := testNamed(name)
		fmt.Fprintf(&b, "| %s | %s |", name, t.unit)
		direct := results[name]["direct"]
		for _, target := range targets {
			fmt.Fprintf(&b, " %s |", cell(target.name, results[name][target.name], direct))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func cell(name string, samples, direct []sample) string {
	if len(samples) == 0 {
		return "–"
	}
	values, cpus := pick(samples, func(s sample) float64 { return s.value }), pick(samples, func(s sample) float64 { return s.cpu })
	if name == "direct" {
		return fmt.Sprintf("%s [%s–%s]", short(median(values)), short(values[0]), short(values[len(values)-1]))
	}
	var ratios []float64
	for i := range min(len(samples), len(direct)) {
		ratios = append(ratios, samples[i].value/direct[i].value)
	}
	ratios = sorted(ratios)
	if len(ratios) == 0 {
		return "–"
	}
	return fmt.Sprintf("**%.2f** [%.2f–%.2f] %s, %.2f s", median(ratios), ratios[0], ratios[len(ratios)-1], short(median(values)), median(cpus))
}
