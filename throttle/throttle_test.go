package throttle

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	var th Throttle
	here, there := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2)}
	now := time.Unix(1000, 0)
	var got []time.Duration
	for port := range 9 {
		here.Port = port
		got = append(got, th.Failed(here, now))
		now = now.Add(time.Second)
	}
	if want := "[0s 0s 0s 125ms 250ms 500ms 1s 1s 1s]"; fmt.Sprint(got) != want {
		t.Errorf("delays %v, want %s", got, want)
	}
	if d := th.Failed(there, now); d != 0 {
		t.Errorf("another address waits %v", d)
	}
	if d := th.Failed(here, now.Add(2*forgetAfter)); d != 0 {
		t.Errorf("waits %v after a long time", d)
	}
	for i := range 3 * knownAddresses {
		th.Failed(&net.TCPAddr{IP: net.IPv4(11, byte(i>>16), byte(i>>8), byte(i))}, now)
	}
	if n := len(th.recent); n > knownAddresses {
		t.Errorf("keeps %d addresses", n)
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	Pause(ctx, time.Hour)
	Pause(t.Context(), 0)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("waited %v", took)
	}
}

func TestHostOf(t *testing.T) {
	for want, address := range map[string]net.Addr{
		"10.0.0.1": &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5},
		"fe80::1":  &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 5},
		"unix":     &net.UnixAddr{Name: "@", Net: "unix"},
	} {
		if got := HostOf(address); got != want {
			t.Errorf("%v: %q, want %q", address, got, want)
		}
	}
}
