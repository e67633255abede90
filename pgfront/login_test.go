package pgfront_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/semaphore"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/router"
)

// login tries one at a port, and says how it ended.
func login(t *testing.T, port int, user, password, database, more string) (*pgconn.PgError, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: fmt.Sprintf("127.0.0.1:%d", port), Path: "/" + database, RawQuery: "sslmode=disable&" + more}
	conn, err := pgx.Connect(ctx, u.String())
	if err == nil {
		conn.Close(ctx)
		return nil, nil
	}
	var e *pgconn.PgError
	errors.As(err, &e)
	return e, err
}

// What the front says to a client that may not enter must be what the engine
// itself says over TCP, and nobody is woken for it.
func TestLoginsAsTheEngines(t *testing.T) {
	h := open(t)
	for _, c := range []struct{ user, password, database, more, code string }{
		{"app", "secret", "app", "", ""},
		{"app", "wrong", "app", "", "28P01"},
		{"app", "", "app", "", "28P01"},
		{"émile", "pässword", "émile", "", ""},
		{"émile", "passwörd", "émile", "", "28P01"},
		{"boss", "secret", "private", "", ""},
		{"nobody", "secret", "app", "", "28P01"},
		{"nobody", "secret", "nowhere", "", "28P01"},
		{"nologin", "secret", "app", "", "28000"},
		{"nologin", "wrong", "app", "", "28P01"},
		{"expired", "secret", "app", "", "28P01"},
		{"nopassword", "secret", "app", "", "28P01"},
		{"md5user", "secret", "app", "", ""},
		{"md5user", "wrong", "app", "", "28P01"},
		{"app", "secret", "nowhere", "", "3D000"},
		{"app", "secret", "closed", "", "55000"},
		{"outsider", "secret", "private", "", "42501"},
		{"app", "secret", "", "", ""},
		{"limited", "secret", "app", "", "53300"},
		{"app", "secret", "app", "replication=database", "42501"},
		{"app", "secret", "app", "options=-c%20work_mem%3Dx", "22023"},
	} {
		t.Run(c.user+"/"+c.password+"@"+c.database+c.more, func(t *testing.T) {
			want, wantErr := login(t, server.port, c.user, c.password, c.database, c.more)
			got, err := login(t, h.address.Port, c.user, c.password, c.database, c.more)
			if (err == nil) != (wantErr == nil) || (got == nil) != (want == nil) {
				t.Fatalf("%v; the engine itself: %v", err, wantErr)
			}
			if got == nil {
				if c.code != "" {
					t.Errorf("no error")
				}
				return
			}
			if got.Code != c.code || got.Code != want.Code || got.Message != want.Message || got.Detail != want.Detail || got.Severity != want.Severity {
				t.Errorf("%s %q %q; the engine itself: %s %q %q", got.Code, got.Message, got.Detail, want.Code, want.Message, want.Detail)
			}
		})
	}
}

func TestRefusedLoginsWakeNobody(t *testing.T) {
	h := open(t, asleep)
	for _, c := range []struct{ user, password, database string }{
		{"app", "wrong", "app"}, {"nobody", "x", "app"}, {"nologin", "secret", "app"}, {"app", "secret", "nowhere"}, {"outsider", "secret", "private"},
	} {
		if e, err := login(t, h.address.Port, c.user, c.password, c.database, ""); e == nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woken %d times", n)
	}
	if n := h.refused("auth"); n != 5 || h.tally.LoginFailures.Load() != 5 || h.tally.Attempts.Load() != 5 {
		t.Errorf("%d refusals, %d failures, %d attempts counted", n, h.tally.LoginFailures.Load(), h.tally.Attempts.Load())
	}
}

func TestGuessingIsSlow(t *testing.T) {
	gate := semaphore.NewWeighted(1)
	h := open(t, withConfig(func(c *pgfront.Config) { c.MaxUnauthenticated = gate }))
	for range 6 {
		login(t, h.address.Port, "app", "wrong", "app", "")
	}
	began := time.Now()
	guess := make(chan struct{})
	go func() { login(t, h.address.Port, "app", "wrong", "app", ""); close(guess) }()
	for range 3 { // who knows the password is not slowed down, even by one place at the gate
		if _, err := login(t, h.address.Port, "app", "secret", "app", ""); err != nil {
			t.Error(err)
		}
	}
	<-guess
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the seventh guess took %v", took)
	}
}

// The ways in which engines ask for a proof, all answered without the client.
func TestUpstreamProofs(t *testing.T) {
	tcp := cluster.Backend{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", server.port), Generation: 1}
	overTLS := func(r *router.Target) {
		r.Upstream.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	configured := func(user string) func(*router.Target) {
		return func(r *router.Target) { r.Upstream.Passwords = map[string]credential.Secret{user: "secret"} }
	}
	for _, c := range []struct {
		name, user string
		change     []func(*router.Target)
		code       string
	}{
		{"ClientKey", "app", nil, ""},
		{"ClientKey over TLS", "app", []func(*router.Target){overTLS}, ""},
		{"MD5 verifier", "md5user", nil, ""},
		{"clear password over TLS", "clear", []func(*router.Target){overTLS, configured("clear")}, ""},
		{"clear password, none known", "clear", []func(*router.Target){overTLS}, "28000"},
		{"configured password, verifier hidden", "app", []func(*router.Target){configured("app"), func(r *router.Target) { r.Users = hidden{server} }}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, func(h *house, _ *pgfront.Config) {
				h.cluster.Serve(tcp)
				for _, change := range c.change {
					change(h.target)
				}
			})
			e, err := login(t, h.address.Port, c.user, "secret", "app", "")
			if c.code == "" && err != nil || c.code != "" && (e == nil || e.Code != c.code) {
				t.Errorf("%v", err)
			}
		})
	}
	if e, _ := login(t, open(t, func(h *house, _ *pgfront.Config) {
		h.cluster.Serve(tcp)
		configured("app")(h.target)
		h.target.Users = hidden{server}
	}).address.Port, "app", "wrong", "app", ""); e == nil || e.Code != "28P01" {
		t.Errorf("a wrong password against a configured one: %v", e)
	}
}

// hidden is a directory that may not read verifiers.
type hidden struct{ *engine }

func (h hidden) Book(ctx context.Context, user, database string) (*credential.Book, error) {
	book, err := h.engine.Book(ctx, user, database)
	if err == nil {
		role := book.Roles[user]
		role.Verifier = ""
		book.Roles[user] = role
	}
	return book, err
}

func TestTLS(t *testing.T) {
	h := open(t)
	psql := func(settings string) (string, error) {
		cmd := exec.CommandContext(h.ctx(), "psql", "-AtX", "-c", "select 6*7", fmt.Sprintf("host=127.0.0.1 port=%d user=app password=secret dbname=app %s", h.address.Port, settings))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, settings := range []string{"sslmode=require", "sslmode=require channel_binding=require", "sslmode=require channel_binding=disable", "sslmode=disable", "gssencmode=prefer sslmode=prefer"} {
		if out, err := psql(settings); out != "42\n" || err != nil {
			t.Errorf("%s: %q %v", settings, out, err)
		}
	}
	conn := h.connect("sslmode=require")
	if views := h.pool.Sessions(); len(views) == 0 || views[0].TLS != "TLS 1.3" {
		t.Errorf("%+v", views)
	}
	var s string
	if err := conn.QueryRow(h.ctx(), "select repeat('x', 1000000)").Scan(&s); err != nil || len(s) != 1_000_000 {
		t.Errorf("%d bytes, %v", len(s), err)
	}
}

func TestDirectTLS(t *testing.T) {
	h := open(t)
	for _, c := range []struct {
		protocols []string
		works     bool
	}{{[]string{"postgresql"}, true}, {nil, false}, {[]string{"http/1.1"}, false}} {
		secure := tls.Client(h.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: c.protocols, ServerName: h.target.Endpoint})
		secure.Write(startup("user", "nobody"))
		b := make([]byte, 1)
		_, err := io.ReadFull(secure, b)
		if works := err == nil && b[0] == 'R'; works != c.works {
			t.Errorf("ALPN %v: %v", c.protocols, err)
		}
		secure.Close()
	}
	eventually(t, "two refusals are counted", func() bool { return h.refused("tls") == 2 })
}

func TestTLSModes(t *testing.T) {
	h := open(t, withConfig(func(c *pgfront.Config) { c.TLSMode = pgfront.TLSRequire }))
	e, err := login(t, h.address.Port, "app", "secret", "app", "")
	if e == nil || e.Code != "28000" || e.Message != `no pg_hba.conf entry for host "127.0.0.1", user "app", database "app", no encryption` {
		t.Errorf("plain, where TLS is required: %v", err)
	}
	h.connect("sslmode=require")
	h = open(t, withConfig(func(c *pgfront.Config) { c.TLSMode = pgfront.TLSDisable }))
	if _, err := pgx.Connect(h.ctx(), h.dsn("sslmode=require")); err == nil {
		t.Error("TLS, where it is off")
	}
}

// Bytes behind an SSLRequest (CVE-2021-23214) are never read as plain text.
func TestSmuggledBytes(t *testing.T) {
	h := open(t)
	conn := h.dial()
	conn.Write(append(unhex("0000000804d2162f"), startup("user", "app")...))
	b, _ := io.ReadAll(conn)
	if len(b) == 0 || b[0] != 'S' || bytes.Contains(b, []byte("SCRAM")) {
		t.Errorf("%q", b)
	}
}

func TestStartups(t *testing.T) {
	h := open(t, withConfig(func(c *pgfront.Config) { c.TLSMode = pgfront.TLSDisable }))
	ssl, gss := unhex("0000000804d2162f"), unhex("0000000804d21630")
	for _, c := range []struct {
		name   string
		bytes  []byte
		answer string // what it begins with, and contains after "…"
	}{
		{"ssl, gss, then a user", join(ssl, gss, startup("user", "app")), "NNR\x00\x00\x00\x17\x00\x00\x00\nSCRAM-SHA-256\x00\x00"},
		{"ssl twice", join(ssl, ssl), "NE…08P01"},
		{"gss twice", join(gss, gss), "NE…08P01"},
		{"protocol 2", unhex("0000000800020000"), "E…0A000"},
		{"protocol 2 in words", unhex("0000000800020000"), "E…unsupported frontend protocol 2.0: server supports 3.0 to 3.0"},
		{"protocol 3.2", join(unhex("00000012"), unhex("00030002"), []byte("user\x00app\x00\x00")), "v\x00\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x00R"},
		{"a protocol option", startup("user", "app", "_pq_.x", "1"), "v\x00\x00\x00\x13\x00\x03\x00\x00\x00\x00\x00\x01_pq_.x\x00R"},
		{"no user", startup("database", "app"), "E…28000…no PostgreSQL user name specified in startup packet"},
		{"http", []byte("GET / HTTP/1.0\r\n\r\n"), "E…08P01…invalid length of startup packet"},
		{"no terminator", unhex("0000000800030000"), "E…08P01…invalid startup packet layout: expected terminator as last byte"},
		{"an instance", startup("user", "app", "options", "-c instance=shop-1"), "E…08004…" + h.target.Endpoint},
		{"an unknown cluster", startup("user", "app", "options", "endpoint=nope"), "E…08004"},
		{"a query instead of a password", join(startup("user", "app"), []byte("Q\x00\x00\x00\x05\x00")), "R…E…08P01…expected SASL response, got message type 81"},
		{"a huge password", join(startup("user", "app"), []byte("p\x7f\x00\x00\x00")), "R…E…08P01"},
		{"a short SASL response", join(startup("user", "app"), []byte("p\x00\x00\x00\x06x\x00")), "R…E…08P01…malformed SCRAM message"},
		{"an unknown mechanism", join(startup("user", "app"), []byte("p\x00\x00\x00\x0aX\x00\x00\x00\x00\x00")), "R…E…08P01…client selected an invalid SASL authentication mechanism"},
		{"a cancel of nobody's", unhex("0000001004d2162e0000000700000009"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := h.dial()
			conn.Write(c.bytes)
			conn.CloseWrite()
			got, _ := io.ReadAll(conn)
			rest := string(got)
			for i, part := range strings.Split(c.answer, "…") {
				at := strings.Index(rest, part)
				if at < 0 || i == 0 && at != 0 || c.answer == "" && rest != "" {
					t.Fatalf("%q does not go on with %q", rest, part)
				}
				rest = rest[at+len(part):]
			}
		})
	}
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woken %d times", n)
	}
}

func TestHandshakeTakesTooLong(t *testing.T) {
	h := open(t, withConfig(func(c *pgfront.Config) { c.HandshakeTimeout = 50 * time.Millisecond }))
	silent := h.dial()
	if b, _ := io.ReadAll(silent); len(b) != 0 {
		t.Errorf("a silent client was told %q", b)
	}
	slow := h.dial()
	slow.Write(startup("user", "app"))
	if b, _ := io.ReadAll(slow); !strings.Contains(string(b), "canceling authentication due to timeout") {
		t.Errorf("a slow client was told %q", b)
	}
}

func TestEndpointOption(t *testing.T) {
	h := open(t)
	h.listener.Cluster = ""
	conn := h.connect("options='-c endpoint=test -c geqo=off'")
	var geqo string
	if err := conn.QueryRow(h.ctx(), "show geqo").Scan(&geqo); err != nil || geqo != "off" {
		t.Errorf("geqo %q, %v", geqo, err)
	}
	if _, err := pgx.Connect(h.ctx(), h.dsn("")); code(err) != "08004" {
		t.Errorf("no cluster named: %v", err)
	}
	if h.unknown.Attempts.Load() != 1 || h.refused("unknown_cluster") != 1 {
		t.Errorf("%d attempts, %d refusals", h.unknown.Attempts.Load(), h.refused("unknown_cluster"))
	}
	config, err := pgx.ParseConfig(h.dsn("sslmode=require"))
	if err != nil {
		t.Fatal(err)
	}
	config.TLSConfig = &tls.Config{InsecureSkipVerify: true, ServerName: h.target.Endpoint}
	named, err := pgx.ConnectConfig(h.ctx(), config)
	if err != nil {
		t.Fatal(err)
	}
	named.Close(h.ctx())
	config.TLSConfig.ServerName = "shop-1.x1.db.example"
	if _, err := pgx.ConnectConfig(h.ctx(), config); code(err) != "08004" || !strings.Contains(err.Error(), h.target.Endpoint) {
		t.Errorf("an instance's name: %v", err)
	}
	if h.refused("instance") != 1 || h.tally.Attempts.Load() != 3 {
		t.Errorf("%d refusals, %d attempts", h.refused("instance"), h.tally.Attempts.Load())
	}
}

func TestCeiling(t *testing.T) {
	h := open(t)
	h.pool.Configure(pool.Limits{Ceiling: pooltest.Limits(2).Ceiling, Reserved: 1})
	first := h.connect("")
	h.connect("")
	e, err := login(t, h.address.Port, "app", "secret", "app", "")
	if e == nil || e.Code != "53300" || e.Message != "sorry, too many clients already" || !strings.HasPrefix(e.Detail, "remaining connection slots are reserved for ") || e.Severity != "FATAL" {
		t.Errorf("%v", err)
	}
	boss := h.connect("user=boss")
	if e, err := login(t, h.address.Port, "boss", "secret", "app", ""); e == nil || e.Code != "53300" || e.Message != "sorry, too many clients already" {
		t.Errorf("beyond the reserved slots, too: %v", err)
	}
	boss.Close(h.ctx())
	first.Close(h.ctx())
	eventually(t, "the seat is free", func() bool { return len(h.pool.Sessions()) == 1 })
	h.connect("")
	if n := h.refused("ceiling"); n != 2 {
		t.Errorf("%d refusals counted", n)
	}
}

// startup is a start-up message.
func startup(pairs ...string) []byte {
	body := unhex("00030000")
	for _, s := range pairs {
		body = append(append(body, s...), 0)
	}
	body = append(body, 0)
	n := len(body) + 4
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
