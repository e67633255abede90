package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls the API of a running proxy. It is safe for use by several
// goroutines.
type Client struct {
	base  string
	named string // the address as the operator gave it, for messages
	token string
	http  *http.Client
}

// ErrUnreachable is why a call failed when no proxy answered.
var ErrUnreachable = errors.New("no proxy answers")

// NewClient makes a client for "unix:///path/to/admin.sock", or for
// "http://HOST:PORT" with the token that changes need there ("" for none).
func NewClient(address, token string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL; unix:///PATH/admin.sock or http://HOST:PORT", address)
	}
	c := &Client{named: address, token: token}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       10 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: longestLimit + time.Minute,
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", u.Path)
		}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		c.base = strings.TrimSuffix(address, "/")
	default:
		return nil, fmt.Errorf("%q is not an admin address; unix:///PATH/admin.sock or http://HOST:PORT", address)
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Clusters are all clusters.
func (c *Client) Clusters(ctx context.Context) (all []Cluster, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/clusters", nil, &all)
	return all, err
}

// Cluster is one of them.
func (c *Client) Cluster(ctx context.Context, name string) (one Cluster, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/clusters/"+url.PathEscape(name), nil, &one)
	return one, err
}

// Pause pauses a cluster and waits for it, for at most limit (0: the server's).
func (c *Client) Pause(ctx context.Context, name string, limit time.Duration) (Cluster, error) {
	return c.steer(ctx, name, "pause", limit)
}

// Resume resumes a cluster and waits for it, for at most limit (0: the server's).
func (c *Client) Resume(ctx context.Context, name string, limit time.Duration) (Cluster, error) {
	return c.steer(ctx, name, "resume", limit)
}

func (c *Client) steer(ctx context.Context, name, verb string, limit time.Duration) (after Cluster, err error) {
	var request action
	if limit > 0 {
		request.Timeout = limit.String()
	}
	err = c.call(ctx, http.MethodPost, "/v1/clusters/"+url.PathEscape(name)+"/"+verb, request, &after)
	return after, err
}

// Convert compares a cluster with one of a fixed size, and makes it one unless
// the request is a dry run.
func (c *Client) Convert(ctx context.Context, name string, request ConvertRequest) (done Conversion, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/clusters/"+url.PathEscape(name)+"/convert", request, &done)
	return done, err
}

// Sessions are a cluster's sessions.
func (c *Client) Sessions(ctx context.Context, name string) (all []Session, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/clusters/"+url.PathEscape(name)+"/sessions", nil, &all)
	return all, err
}

// Kill ends a session.
func (c *Client) Kill(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/sessions/"+url.PathEscape(id), nil, nil)
}

// Events are a cluster's latest events, oldest first.
func (c *Client) Events(ctx context.Context, name string) (all []Event, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/clusters/"+url.PathEscape(name)+"/events", nil, &all)
	return all, err
}

// Follow yields a cluster's latest events and then each new one, until ctx
// ends or the connection does; then the last pair has an error, unless ctx
// ended.
func (c *Client) Follow(ctx context.Context, name string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		response, err := c.send(ctx, http.MethodGet, "/v1/clusters/"+url.PathEscape(name)+"/events?follow=1", nil)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e Event
			err := json.Unmarshal(lines.Bytes(), &e)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if ctx.Err() == nil {
			yield(Event{}, fmt.Errorf("follow events: %w", errors.Join(ErrUnreachable, lines.Err())))
		}
	}
}

// call sends a request and reads its answer.
func (c *Client) call(ctx context.Context, method, path string, request, into any) error {
	response, err := c.send(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.named, err)
	}
	return nil
}

// send returns the answer if it is one of success; otherwise the error is an
// *Error of the server's, or wraps ErrUnreachable.
func (c *Client) send(ctx context.Context, method, path string, request any) (*http.Response, error) {
	var text []byte
	if request != nil {
		var err error
		if text, err = json.Marshal(request); err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(r)
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), closed(response))
	}
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("%w at %s (%w): is `serverlessproxy serve` running, and is this its address?", ErrUnreachable, c.named, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, refusal(response)
	}
	return response, nil
}

func closed(r *http.Response) error {
	if r == nil {
		return nil
	}
	return r.Body.Close()
}

// refusal reads the error that a server answered.
func refusal(r *http.Response) error {
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	var told struct{ Error *Error }
	if json.Unmarshal(text, &told) != nil || told.Error == nil {
		return &Error{Status: r.StatusCode, Code: "unknown", Message: "the server answered " + r.Status + ", not as a serverlessproxy does"}
	}
	told.Error.Status = r.StatusCode
	return told.Error
}
