package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"serverlessproxy/acu"
)

const (
	shortestPause = 1      // seconds; v1 allowed no less than 300
	longestPause  = 86_400 // seconds, v1's
	year          = 365 * 24 * time.Hour
)

func scaling(s *section, kind kindOfEngine, driver string) Scaling {
	c := Scaling{
		Min: kind.min, Max: 16, Autoscale: true, AutoPause: driver != "fixed",
		PauseAfter: 300 * time.Second, Timeout: 300 * time.Second, TimeoutAction: "RollbackCapacityChange",
		CooldownAfterUp: 15 * time.Minute, CooldownAfterDown: 310 * time.Second, Method: "auto",
	}
	s.capacity("min_capacity", &c.Min, kind.table)
	s.capacity("max_capacity", &c.Max, kind.table)
	if c.Min > c.Max {
		s.wrong("min_capacity", fmt.Sprintf("%d is more than max_capacity, %d", c.Min, c.Max), "at most max_capacity")
	}
	s.truth("autoscale", &c.Autoscale)
	s.truth("auto_pause", &c.AutoPause)
	if c.AutoPause && driver == "fixed" {
		s.wrong("auto_pause", "a server of driver fixed is run by others and cannot be paused", "false, or driver process or command")
	}
	s.seconds("seconds_until_auto_pause", &c.PauseAfter, span[int]{shortestPause, longestPause})
	s.seconds("seconds_before_timeout", &c.Timeout, span[int]{10, 600})
	s.oneOf("timeout_action", &c.TimeoutAction, "RollbackCapacityChange", "ForceApplyCapacityChange")
	s.duration("cooldown_after_up", &c.CooldownAfterUp, span[time.Duration]{0, 24 * time.Hour})
	s.duration("cooldown_after_down", &c.CooldownAfterDown, span[time.Duration]{0, 24 * time.Hour})
	s.oneOf("method", &c.Method, "auto", "restart")
	s.done()
	return c
}

// capacity reads a size that the engine has. An unknown engine has none, and
// was reported already.
func (s *section) capacity(key string, into *acu.Capacity, table acu.Table) {
	n := int(*into)
	s.integer(key, &n, span[int]{1, 1 << 20})
	if sizes := table.Sizes(); len(sizes) > 0 && !table.Legal(acu.Capacity(n)) {
		s.wrong(key, fmt.Sprintf("%d is not a capacity of %s", n, table.Name()), "one of "+list(sizes))
		return
	}
	*into = acu.Capacity(n)
}

func list(sizes []acu.Capacity) string {
	words := make([]string, len(sizes))
	for i, size := range sizes {
		words[i] = strconv.Itoa(int(size))
	}
	return strings.Join(words, ", ")
}

func connections(s *section, table acu.Table) (acu.Table, Connections) {
	c := Connections{Overflow: "reject", QueueTimeout: 30 * time.Second, Reserved: 3, ReleaseAfter: Off, PinnedTimeout: Off}
	s.oneOf("overflow", &c.Overflow, "reject", "queue")
	s.duration("queue_timeout", &c.QueueTimeout, span[time.Duration]{time.Second, 24 * time.Hour})
	s.integer("reserved", &c.Reserved, span[int]{0, 1000})
	s.texts("admin_roles", &c.AdminRoles)
	s.durationOrOff("release_after", &c.ReleaseAfter, span[time.Duration]{0, 24 * time.Hour})
	s.durationOrOff("pinned_timeout", &c.PinnedTimeout, span[time.Duration]{time.Second, 30 * 24 * time.Hour})
	own := ceilings(s.section("ceilings"), table)
	s.done()
	return table.WithCeilings(own), c
}

func ceilings(s *section, table acu.Table) map[acu.Capacity]int {
	own := map[acu.Capacity]int{}
	for _, key := range s.keys {
		ceiling := 0
		s.integer(key, &ceiling, span[int]{1, 100_000})
		n, err := strconv.Atoi(key)
		if err != nil || !table.Legal(acu.Capacity(n)) {
			s.wrong(key, fmt.Sprintf("%q is not a capacity of %s", key, table.Name()), "one of "+list(table.Sizes()))
			continue
		}
		own[acu.Capacity(n)] = ceiling
	}
	return own
}

func snapshot(s *section, stateDir string) Snapshot {
	c := Snapshot{
		After: 7 * 24 * time.Hour, RestoreTimeout: 30 * time.Minute,
		Store: "file://" + filepath.Join(stateDir, "snapshots"), Keep: 3,
	}
	s.duration("after", &c.After, span[time.Duration]{0, 10 * year})
	s.duration("restore_timeout", &c.RestoreTimeout, span[time.Duration]{time.Second, 24 * time.Hour})
	s.text("store", &c.Store)
	if err := checkStore(c.Store); err != nil {
		s.wrong("store", err.Error(), "file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX")
	}
	s.integer("keep", &c.Keep, span[int]{1, 1000})
	s.done()
	return c
}

var stores = []string{"file", "s3", "gs", "azblob"}

func checkStore(store string) error {
	u, err := url.Parse(store)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", store)
	case !slices.Contains(stores, u.Scheme):
		return fmt.Errorf("%q is no store that is known", store)
	case u.User != nil:
		return fmt.Errorf("credentials do not belong into the URL of a store")
	case u.Scheme == "file" && (u.Host != "" || !filepath.IsAbs(u.Path)):
		return fmt.Errorf("%q names no directory from the root", store)
	case u.Scheme != "file" && u.Host == "":
		return fmt.Errorf("%q names no bucket", store)
	}
	return nil
}

// offWords are what people write to have no encryption.
var offWords = []string{"", "off", "no", "none", "false", "disable", "disabled", "plain", "0"}

// encryption reads `encryption: external` or the whole section.
func encryption(s *section, driver string) Encryption {
	e := Encryption{Method: "auto"}
	external := driver != "process"
	method, at := "auto", s
	key := "encryption"
	if words, short := scalar(s.value(key)); short {
		method = words
	} else if s.isNull(key) {
		method = "none"
	} else {
		at, key = s.section(key), "method"
		at.text(key, &method)
		e = keys(at)
		at.done()
	}
	e.Method = method
	switch {
	case slices.Contains(offWords, strings.ToLower(method)):
		at.wrong(key, "the volume is always encrypted", "auto, fscrypt or gocryptfs; external where the platform encrypts the disk itself")
	case !slices.Contains([]string{"auto", "fscrypt", "gocryptfs", "external"}, method):
		at.wrong(key, fmt.Sprintf("%q is not known", method), "one of auto, fscrypt, gocryptfs, external")
	case external && method != "external":
		at.wrong(key, "the volume of driver "+driver+" is not the proxy's to encrypt", "encryption: external, if the server's disk is encrypted where it runs")
	case method == "external" && e.KeyFile+e.KeyAge+strings.Join(e.KeyCommand, "") != "":
		at.wrong(key, "external uses no key of the proxy's", "remove the key, or choose auto, fscrypt or gocryptfs")
	}
	return e
}

func keys(s *section) Encryption {
	var e Encryption
	s.file("key_file", &e.KeyFile, secret)
	s.file("key_age", &e.KeyAge, secret)
	s.texts("key_command", &e.KeyCommand)
	sources := 0
	for _, given := range []bool{e.KeyFile != "", e.KeyAge != "", len(e.KeyCommand) > 0} {
		if given {
			sources++
		}
	}
	if sources > 1 {
		s.wrong("key_file", "more than one source of the key", "one of key_file, key_command and key_age")
	}
	return e
}
