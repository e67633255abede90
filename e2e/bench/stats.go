package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sample is one run: what it reached, and what it cost the proxy.
type sample struct {
	value float64 // in the test's unit
	cpu   float64 // CPU seconds of the proxy per unit of work
}

func pick(samples []sample, f func(sample) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, f(s))
	}
	return sorted(values)
}

func sorted(values []float64) []float64 {
	slices.Sort(values)
	return values
}

// median of sorted values.
func median(values []float64) float64 {
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

func short(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return fmt.Sprintf("%.1f", v)
}

// cpuSeconds sums what the scheduler says that the threads of these processes
// have run, in nanoseconds (/proc/PID/task/TID/schedstat: Linux,
// Documentation/scheduler/sched-stats.rst).
func cpuSeconds(pids []int) float64 {
	var total float64
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			ran, _, _ := strings.Cut(string(text), " ")
			ns, _ := strconv.ParseFloat(ran, 64)
			total += ns / 1e9
		}
	}
	return total
}
