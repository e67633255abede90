package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"serverlessproxy/cluster"
)

// serving is a bench behind a real socket and a real port.
func serving(t *testing.T) (b *bench, overSocket, overTCP string) {
	t.Helper()
	b = newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	path := filepath.Join(t.TempDir(), SocketFile)
	socket, err := Listen(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, socket, port) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Error("the socket is left behind")
		}
	})
	return b, "unix://" + path, "http://" + port.Addr().String()
}

func client(t *testing.T, address, token string) *Client {
	t.Helper()
	c, err := NewClient(address, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient(t *testing.T) {
	b, socket, tcp := serving(t)
	ctx := t.Context()
	for name, c := range map[string]*Client{"socket": client(t, socket, ""), "token": client(t, tcp, testToken)} {
		t.Run(name, func(t *testing.T) {
			if all, err := c.Clusters(ctx); err != nil || len(all) != 2 || all[0].Name != "shop" {
				t.Errorf("%+v, %v", all, err)
			}
			if one, err := c.Cluster(ctx, "shop"); err != nil || one.Ceiling != 400 || one.LastError != "it failed\nrow 4711" {
				t.Errorf("%+v, %v", one, err)
			}
			if all, err := c.Sessions(ctx, "shop"); err != nil || len(all) != 2 || all[0].PinnedBy[0] != "transaction" {
				t.Errorf("%+v, %v", all, err)
			}
			if all, err := c.Events(ctx, "shop"); err != nil || !reflect.DeepEqual(all, b.machine.events) {
				t.Errorf("%+v, %v", all, err)
			}
			if after, err := c.Pause(ctx, "shop", time.Minute); err != nil || after.State != "paused" {
				t.Errorf("%+v, %v", after, err)
			}
			if after, err := c.Resume(ctx, "shop", 0); err != nil || after.State != "available" {
				t.Errorf("%+v, %v", after, err)
			}
			if err := c.Kill(ctx, "s-1"); err != nil {
				t.Error(err)
			}
			var told *Error
			if err := c.Kill(ctx, "s-9"); !errors.As(err, &told) || told.Code != "not_found" || told.Status != 404 {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("stranger", func(t *testing.T) {
		c := client(t, tcp, "")
		var told *Error
		if err := c.Kill(ctx, "s-1"); !errors.As(err, &told) || told.Code != "unauthorized" {
			t.Errorf("%v", err)
		}
		if one, err := c.Cluster(ctx, "shop"); err != nil || one.LastError != "it failed" {
			t.Errorf("%+v, %v", one, err)
		}
	})
	t.Run("pinned", func(t *testing.T) {
		b.machine.fails = &cluster.Holdouts{Sessions: []cluster.Holdout{{Session: "s-1", Reasons: []string{"cursor"}}}}
		var told *Error
		if _, err := client(t, socket, "").Pause(ctx, "shop", 0); !errors.As(err, &told) || told.Code != "pinned" || told.Held[0].ID != "s-1" {
			t.Errorf("%v", err)
		}
	})
}

func TestClientFollows(t *testing.T) {
	b, socket, _ := serving(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	later := cluster.Event{Time: start.Add(time.Minute), Cluster: "shop", ID: "RDS-EVENT-0145", Message: "The DB cluster is paused."}
	var got []Event
	for e, err := range client(t, socket, "").Follow(ctx, "shop") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == len(b.machine.events) {
			b.machine.more <- later
		}
		if len(got) > len(b.machine.events) {
			break
		}
	}
	if want := append(b.machine.events, later); !reflect.DeepEqual(got, want) {
		t.Errorf(" got %+v\nwant %+v", got, want)
	}
	for _, err := range client(t, socket, "").Follow(ctx, "nobody") {
		var told *Error
		if !errors.As(err, &told) || told.Code != "not_found" {
			t.Errorf("%v", err)
		}
	}
}

func TestServerSentEvents(t *testing.T) {
	_, _, tcp := serving(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, tcp+"/v1/clusters/shop/events?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `data: {"time":"2026-03-04T05:06:07Z","cluster":"shop","id":"RDS-EVENT-0147"`) {
		t.Errorf("%q, %v", line, err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	b := newBench(t)
	for range maxFollowers {
		b.follows <- struct{}{}
	}
	if w := b.ask("GET", "/v1/clusters/shop/events?follow=1", ""); w.Code != http.StatusServiceUnavailable || codeOf(t, w) != "busy" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestWhoGoesAwayGivesUp: a request that nobody waits for ends.
func TestWhoGoesAwayGivesUp(t *testing.T) {
	b, socket, _ := serving(t)
	b.machine.blocks, b.machine.asked = true, make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-b.machine.asked; cancel() }()
	if _, err := client(t, socket, "").Pause(ctx, "shop", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent.sock")
	_, err := client(t, "unix://"+path, "").Clusters(t.Context())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "is `serverlessproxy serve` running") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "localhost:9630", "unix:relative", "ftp://x", "http://", "://"} {
		if _, err := NewClient(bad, ""); err == nil {
			t.Errorf("%q is no address", bad)
		}
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "I am a teapot", http.StatusTeapot) }))
	defer other.Close()
	var told *Error
	if _, err := client(t, other.URL, "").Clusters(t.Context()); !errors.As(err, &told) || !strings.Contains(told.Message, "not as a serverlessproxy does") {
		t.Errorf("%v", err)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketFile)
	first, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another serverlessproxy answers at "+path) {
		t.Errorf("a second one: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as if the proxy were killed
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("over a stale one: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
}

// TestStopEndsWhatHangs: what an operator waits for does not keep a stop from
// ending.
func TestStopEndsWhatHangs(t *testing.T) {
	b := newBench(t)
	b.machine.blocks, b.machine.asked = true, make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, port) }()
	conn, err := net.Dial("tcp", port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/clusters/shop/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", testToken)
	go func() { <-b.machine.asked; cancel() }()
	text, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(text), `"stopping"`) {
		t.Errorf("%s, %v", text, err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(stopLimit + 5*time.Second):
		t.Fatal("the stop does not end")
	}
}
