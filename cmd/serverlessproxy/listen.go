package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"serverlessproxy/router"
)

// front is what serves a protocol's connections.
type front interface {
	ServeConn(ctx context.Context, conn net.Conn, l *router.Listener)
}

// door is one listening address.
type door struct {
	net.Listener
	router       *router.Listener
	front        front
	proxyTimeout time.Duration // > 0: clients begin with a PROXY header, within this time
	log          *slog.Logger
	serving      sync.WaitGroup
}

// openDoor listens, with TCP probes that find half-open clients after twice
// the keepalive time, so that they do not hold seats. A taken port is an error
// that says so.
func openDoor(ctx context.Context, address string, keepalive time.Duration) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepalive, Interval: keepalive / 3, Count: 3}}
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; free the port or name another address", address, err)
	}
	return l, nil
}

// serve accepts until the listener is closed, and returns when every
// connection's login is over.
func (d *door) serve(ctx context.Context) {
	defer d.serving.Wait()
	for {
		conn, err := d.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: others must end first.
			d.log.Warn("cannot accept a connection", "address", d.Addr().String(), "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		d.serving.Go(func() { d.admit(ctx, conn) })
	}
}

func (d *door) admit(ctx context.Context, conn net.Conn) {
	if d.proxyTimeout > 0 {
		proxied, err := readProxyHeader(conn, d.proxyTimeout)
		if err != nil {
			d.log.Warn("refused a connection without a PROXY header", "address", d.Addr().String(), "peer", conn.RemoteAddr().String(), "error", err)
			conn.Close()
			return
		}
		conn = proxied
	}
	d.front.ServeConn(ctx, conn, d.router)
}

// proxiedConn is a plain connection whose client is elsewhere.
type proxiedConn struct {
	*net.TCPConn
	client net.Addr
}

func (c *proxiedConn) RemoteAddr() net.Addr { return c.client }

// NetConn is the plain socket, which carries the same bytes.
func (c *proxiedConn) NetConn() net.Conn { return c.TCPConn }

// readProxyHeader reads a PROXY header, v1 or v2, and not a byte more: what
// follows stays in the socket, where an event loop can read it.
func readProxyHeader(conn net.Conn, limit time.Duration) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	text, err := proxyHeader(conn)
	if err != nil {
		return nil, err
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	tcp, plain := conn.(*net.TCPConn)
	if header.Command.IsLocal() || !plain {
		return conn, nil
	}
	return &proxiedConn{TCPConn: tcp, client: header.SourceAddr}, nil
}

// Of the PROXY protocol's specification: v1 is a line of at most 107 bytes; v2
// has 16 bytes whose last two are the length of the rest.
const (
	longestV1 = 107
	fixedV2   = 16
	longestV2 = 4096 // far beyond addresses and the extensions in use
)

// proxyHeader reads just the header's bytes.
func proxyHeader(from io.Reader) ([]byte, error) {
	text := make([]byte, 1, fixedV2)
	if _, err := io.ReadFull(from, text); err != nil {
		return nil, err
	}
	if text[0] != proxyproto.SIGV2[0] {
		for text[len(text)-1] != '\n' && len(text) < longestV1 {
			text = append(text, 0)
			if _, err := io.ReadFull(from, text[len(text)-1:]); err != nil {
				return nil, err
			}
		}
		return text, nil
	}
	text = text[:fixedV2]
	if _, err := io.ReadFull(from, text[1:]); err != nil {
		return nil, err
	}
	rest := int(binary.BigEndian.Uint16(text[fixedV2-2:]))
	if rest > longestV2 {
		return nil, fmt.Errorf("a PROXY header of %d bytes is too long", rest)
	}
	text = append(text, make([]byte, rest)...)
	_, err := io.ReadFull(from, text[fixedV2:])
	return text, err
}
