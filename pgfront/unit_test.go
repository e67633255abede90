package pgfront

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

func TestTell(t *testing.T) {
	for _, c := range []struct {
		err            error
		code, contains string
	}{
		{wrongPassword("ann"), "28P01", `password authentication failed for user "ann"`},
		{fmt.Errorf("join: %w", &pool.TooMany{}), "53300", "sorry, too many clients already"},
		{&pool.TooMany{Waited: 30 * time.Second}, "53300", "sorry, too many clients already (waited 30s)"},
		{&router.InstanceError{Endpoint: "e.example"}, "08004", "e.example"},
		{&router.UnknownError{}, "08004", "no such cluster"},
		{&cluster.ResumeError{Reason: "full"}, "57P03", "the database system is starting up"},
		{errCanceled, "57014", "canceling statement due to user request"},
		{errOverdue, "57014", "canceling authentication due to timeout"},
		{errCrowded, "53300", ""},
		{fmt.Errorf("log in: %w (it asks for MD5)", errNoSecret), "28000", ""},
		{errUsers, "57P03", ""},
		{errSCRAMServer, "08006", ""},
		{errPlainServer, "08006", ""},
		{pool.ErrDraining, "57P01", "terminating connection due to administrator command"},
		{pool.ErrKilled, "57P01", "terminating connection due to administrator command"},
		{context.Canceled, "57P01", ""},
		{errClosed, "57P01", ""},
		{fmt.Errorf("greet: %w", pgwire.ErrStartupLength), "08P01", "invalid length of startup packet"},
		{fmt.Errorf("message of type 'p': %w", pgwire.ErrMessageLength), "08P01", "invalid message length"},
		{fmt.Errorf("%w 33", pgwire.ErrMessageType), "08P01", "invalid frontend message type 33"},
		{pgwire.ErrServer, "08P01", ""},
		{farewell(pool.Evicted), "57P01", "terminating connection due to serverless scale event timeout"},
		{farewell(pool.PinnedTimeout), "57P05", ""},
		{notAdmitted(credential.ErrNoRole, "ann", "db"), "28P01", ""},
		{notAdmitted(credential.ErrNoConnect, "ann", "db"), "42501", `permission denied for database "db"`},
		{errors.New("whatever"), "57P03", ""},
	} {
		got := tell(c.err)
		if got == nil || got.code != c.code || !strings.Contains(got.message, c.contains) {
			t.Errorf("%v: %v, want %s %q", c.err, got, c.code, c.contains)
		}
	}
	for _, err := range []error{errClientGone, fmt.Errorf("x: %w", errHandshake), errNoTLS} {
		if got := tell(err); got != nil {
			t.Errorf("%v: told %v", err, got)
		}
	}
}

func TestFatalIsGolden(t *testing.T) {
	want := "E\x00\x00\x00\x00SFATAL\x00VFATAL\x00C53300\x00Msorry, too many clients already\x00" +
		"DThe remaining\x00\x00"
	got := (&told{code: "53300", message: "sorry, too many clients already", detail: "The remaining"}).fatal()
	want = "E" + string([]byte{0, 0, 0, byte(len(want) - 1)}) + want[5:]
	if string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPassing(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&engineError{code: "57P03"}, true},
		{fmt.Errorf("log in: %w", &engineError{code: "57P01"}), true},
		{&engineError{code: "28P01"}, false},
		{&engineError{code: "53300"}, false},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{io.ErrUnexpectedEOF, true},
		{errNoSecret, false},
		{errBadUpstream, false},
	} {
		if got := passing(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestMeantForUs(t *testing.T) {
	rest, found := meantForUs([]pgwire.Parameter{{Name: "user", Value: "a"}, {Name: "options", Value: "-c endpoint=x -c geqo=off"}, {Name: "options", Value: "instance=i"}})
	want := []pgwire.Parameter{{Name: "user", Value: "a"}, {Name: "options", Value: "-c geqo=off"}}
	if !reflect.DeepEqual(rest, want) || found["endpoint"] != "x" || found["instance"] != "i" {
		t.Errorf("%v, %v", rest, found)
	}
}

func TestParseReplication(t *testing.T) {
	for value, want := range map[string]replication{"": none, "false": none, "0": none, "nonsense": none, "true": physical, "ON": physical, "yes": physical, "1": physical, "database": logical, "DATABASE": logical} {
		if got := parseReplication(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestEvidence(t *testing.T) {
	past, future := time.Unix(1, 0), time.Now().Add(time.Hour)
	passwords := map[string]credential.Secret{"a": "pw"}
	for _, c := range []struct {
		role credential.Role
		want evidence
	}{
		{credential.Role{}, evidence{}},
		{credential.Role{Name: "a", Verifier: "v"}, evidence{verifier: "v"}},
		{credential.Role{Name: "a", Verifier: "v", ValidUntil: &future}, evidence{verifier: "v"}},
		{credential.Role{Name: "a", Verifier: "v", ValidUntil: &past}, evidence{}},
		{credential.Role{Name: "a"}, evidence{password: "pw"}},
		{credential.Role{Name: "a", ValidUntil: &past}, evidence{}},
		{credential.Role{Name: "b"}, evidence{}},
	} {
		if got := evidenceFor(c.role, passwords, time.Now()); got != c.want {
			t.Errorf("%v: %#v", c.role.Name, got)
		}
	}
}

func TestFreshParameters(t *testing.T) {
	known := map[string]string{"server_version": "15.18", "is_superuser": "on", "client_encoding": "SQL_ASCII", "application_name": "x"}
	got := freshParameters(known, credential.Role{Name: "ann"}, []pgwire.Parameter{{Name: "Application_Name", Value: "psql"}, {Name: "client_encoding", Value: "utf-8"}})
	want := map[string]string{"server_version": "15.18", "is_superuser": "off", "session_authorization": "ann", "client_encoding": "UTF8", "application_name": "psql"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if known["is_superuser"] != "on" {
		t.Error("the Book was changed")
	}
	if freshParameters(nil, credential.Role{}, nil) != nil {
		t.Error("made up from nothing")
	}
}

func TestUnusedPID(t *testing.T) {
	for range 10_000 {
		if pid := unusedPID(); pid <= 1<<22 || pid > 1<<31-1 {
			t.Fatalf("%d", pid)
		}
	}
}

func TestParseVerifier(t *testing.T) {
	keys := scramKeys{mac([]byte("k"), "c"), mac([]byte("k"), "s")}
	good := "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$" + base64.StdEncoding.EncodeToString(keys.storedKey()) + ":" + base64.StdEncoding.EncodeToString(keys.server)
	stored, ok := parseVerifier(credential.Secret(good))
	if !ok || stored.Salt != "saltsalt" || stored.Iters != 4096 || !bytes.Equal(stored.ServerKey, keys.server) {
		t.Errorf("%v %+v", ok, stored.KeyFactors)
	}
	for _, bad := range []string{"", "md5x", "SCRAM-SHA-256", "SCRAM-SHA-256$x:c2E=$YQ==:YQ==", strings.Replace(good, "4096", "0", 1), strings.Replace(good, "4096", "-1", 1), good[:60], strings.Replace(good, "SHA-256", "SHA-1", 1)} {
		if _, ok := parseVerifier(credential.Secret(bad)); ok {
			t.Errorf("%q is no verifier", bad)
		}
	}
}

func TestStandIn(t *testing.T) {
	f, g := New(Config{Secret: []byte("a")}), New(Config{Secret: []byte("b")})
	if !reflect.DeepEqual(f.standIn("ann"), f.standIn("ann")) {
		t.Error("not stable")
	}
	if f.standIn("ann").Salt == f.standIn("bob").Salt || f.standIn("ann").Salt == g.standIn("ann").Salt {
		t.Error("the same salt for others")
	}
}

// Our client against the library's server, and the key that its proof shows.
func TestScramClientAgainstServer(t *testing.T) {
	factors := scram.KeyFactors{Salt: "0123456789abcdef", Iters: 4096}
	keys := derive("pässword", factors)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return keys.stored(factors), nil })
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]credential.Key{
		"password": {Password: "pässword"}, "keys": {ClientKey: keys.client, ServerKey: keys.server}, "wrong": {Password: "password"},
	} {
		client, conversation := scramClient{key: key}, server.NewConversation()
		first := client.first()
		challenge, err := conversation.Step(first)
		if err != nil {
			t.Fatal(err)
		}
		final, err := client.final(challenge)
		if err != nil {
			t.Fatal(err)
		}
		outcome, err := conversation.Step(final)
		if name == "wrong" {
			if err == nil || client.check(outcome) == nil || client.done() == nil {
				t.Error("a wrong password passed")
			}
			continue
		}
		if err != nil || client.done() == nil || client.check(outcome) != nil || client.done() != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := recoverClientKey(keys.storedKey(), first, challenge, final); !bytes.Equal(got, keys.client) {
			t.Errorf("%s: another ClientKey", name)
		}
	}
}

// The example of RFC 7677.
func TestScramKeysAreGolden(t *testing.T) {
	factors := scram.KeyFactors{Salt: "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81", Iters: 4096}
	keys := derive("pencil", factors)
	const first, challenge = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	const final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	if got := recoverClientKey(keys.storedKey(), first, challenge, final); !bytes.Equal(got, keys.client) {
		t.Error("the RFC's proof shows another ClientKey")
	}
}

func TestMD5(t *testing.T) {
	for verifier, want := range map[credential.Secret]bool{verifierMD5("secret", "ann"): true, "md5short": false, "SCRAM-SHA-256$": false, "": false} {
		if isMD5(verifier) != want {
			t.Errorf("of %d bytes: %v", len(verifier), !want)
		}
	}
}

func TestPastRequest(t *testing.T) {
	m := func(kind byte, n int) []byte { return pgwire.AppendMessage(nil, kind, make([]byte, n)) }
	for _, c := range []struct {
		stream []byte
		kind   byte
		left   int
	}{
		{join(m('Q', 70000), m('Q', 1)), 'Q', 6},
		{join(m('P', 9), m('B', 9), m('H', 0), m('S', 0), m('P', 1)), 'S', 6},
		{m('X', 0), 'X', 0},
	} {
		r := bytes.NewReader(c.stream)
		kind, err := pastRequest(r)
		if kind != c.kind || err != nil || r.Len() != c.left {
			t.Errorf("%q, %v, %d left", kind, err, r.Len())
		}
	}
	if _, err := pastRequest(bytes.NewReader(m('P', 9))); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := pastRequest(bytes.NewReader(m('!', 9))); !errors.Is(err, pgwire.ErrMessageType) {
		t.Error(err)
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// script is a connection on which everything has been sent already.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

// FuzzScram has a stranger say anything at all where a proof is asked for: it
// is never let in, and nothing breaks.
func FuzzScram(f *testing.F) {
	front := New(Config{Log: slog.New(slog.DiscardHandler), Secret: []byte("s")})
	first := "SCRAM-SHA-256\x00\x00\x00\x00\x20n,,n=,r=rOprNGfwEbeRWgbNEkqO"
	f.Add(pgwire.AppendMessage(pgwire.AppendMessage(nil, 'p', []byte(first+"abcde")), 'p', []byte("c=biws,r=x,p=AAAA")), false, false)
	f.Add(pgwire.AppendMessage(nil, 'p', []byte("SCRAM-SHA-256-PLUS\x00\x00\x00\x00\x10p=tls-server-end-point,,n=,r=x")), true, false)
	f.Add(pgwire.AppendMessage(nil, 'p', []byte("md5x\x00")), false, true)
	f.Add([]byte("p\x7f\xff\xff\xff"), false, false)
	f.Fuzz(func(t *testing.T, sent []byte, bound, md5 bool) {
		conn := &script{in: bytes.NewReader(sent)}
		v := &visitor{front: front, heard: func() {}, conn: conn, reader: pgwire.NewReader(conn), user: "ann", target: &router.Target{}}
		if bound {
			v.binding = scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: []byte("certificate")}
		}
		e := evidence{}
		if md5 {
			e.verifier = verifierMD5("secret", "ann")
		}
		if _, err := v.prove(e); err == nil {
			t.Fatalf("let in by %q", sent)
		}
	})
}

func FuzzEngineLogin(f *testing.F) {
	f.Add(pgwire.AppendReady(pgwire.AppendMessage(nil, 'R', make([]byte, 4)), 'I'))
	f.Add(pgwire.AppendMessage(nil, 'R', []byte("\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00")))
	f.Add(pgwire.AppendMessage(nil, 'E', []byte("SFATAL\x00C28000\x00Mno\x00\x00")))
	f.Add(pgwire.AppendMessage(pgwire.AppendMessage(nil, 'R', []byte("\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00")), 'R', []byte("\x00\x00\x00\x0br=x,s=YQ==,i=1")))
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &script{in: bytes.NewReader(sent)}
		s := &session{target: &router.Target{}, user: "ann", key: credential.Key{ClientKey: make([]byte, 32), ServerKey: make([]byte, 32)}}
		s.introduceTo(&opened{conn: conn, parameters: map[string]string{}})
	})
}
