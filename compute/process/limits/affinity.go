package limits

import (
	"errors"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// affine has all threads of a process run on so many of the processors that
// this process may use; 0: on all of them. spread is which of them is first.
func affine(pid, cores, spread int) error {
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		return err
	}
	chosen := choose(mine, cores, spread)
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, &chosen); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// choose is so many of the allowed processors, in a row that begins at one of
// them and goes round.
func choose(allowed unix.CPUSet, cores, spread int) unix.CPUSet {
	var list []int
	for cpu := 0; len(list) < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	if cores <= 0 || cores >= len(list) {
		return allowed
	}
	var chosen unix.CPUSet
	for i := range cores {
		chosen.Set(list[(spread+i)%len(list)])
	}
	return chosen
}
