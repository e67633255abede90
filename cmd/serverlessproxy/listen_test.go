package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

const v1 = "PROXY TCP4 192.0.2.7 127.0.0.1 40000 5432\r\n"

func v2(t *testing.T) string {
	t.Helper()
	client, server := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5432}
	text, err := proxyproto.HeaderProxyFromAddrs(2, client, server).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestProxyHeaderTakesNoByteMore: what follows the header stays unread.
func TestProxyHeaderTakesNoByteMore(t *testing.T) {
	for name, header := range map[string]string{"v1": v1, "v2": v2(t)} {
		from := bytes.NewBufferString(header + "what follows")
		got, err := proxyHeader(from)
		if err != nil || string(got) != header {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
		if rest := from.String(); rest != "what follows" {
			t.Errorf("%s: %q is left", name, rest)
		}
	}
}

func TestReadProxyHeader(t *testing.T) {
	for name, c := range map[string]struct{ sent, client string }{
		"v1":          {v1, "192.0.2.7:40000"},
		"v2":          {v2(t), "192.0.2.7:40000"},
		"none":        {"\x00\x00\x00\x08\x04\xd2\x16\x2f" + string(make([]byte, 200)), ""},
		"endless":     {"PROXY " + string(bytes.Repeat([]byte("x"), 200)), ""},
		"cut":         {"PROXY TCP4 192.0.2.7", ""},
		"v2 too long": {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := io.WriteString(client, c.sent); err != nil {
				t.Fatal(err)
			}
			_ = client.(*net.TCPConn).CloseWrite()
			served, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer served.Close()
			conn, err := readProxyHeader(served, 10*time.Second)
			if c.client == "" {
				if err == nil {
					t.Errorf("taken for a header: the client is %v", conn.RemoteAddr())
				}
				return
			}
			if err != nil || conn.RemoteAddr().String() != c.client {
				t.Errorf("the client is %v, %v", conn, err)
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte(v1))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x9c\x40\x15\x38"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, err := proxyHeader(bytes.NewReader(sent))
		if err == nil && !bytes.HasPrefix(sent, got) {
			t.Errorf("read %q of %q", got, sent)
		}
	})
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitDone},
		{errors.New("no"), exitFailed},
		{usageError{errors.New("what?")}, exitUsage},
		{fmt.Errorf("checked: %w", usageError{errors.New("what?")}), exitUsage},
		{fmt.Errorf("waited: %w", context.DeadlineExceeded), exitTimeout},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestNextFreePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	next, err := nextFreePort(taken.Addr().String())
	if err != nil || next == taken.Addr().String() {
		t.Fatalf("%s, %v", next, err)
	}
	if _, err := nextFreePort("nonsense"); err == nil {
		t.Error("nonsense has a next port")
	}
}
