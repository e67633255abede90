package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const secret = "correct horse"

func TestSecretsAreNeverPrinted(t *testing.T) {
	s := Secret(secret)
	role := Role{Name: "al", Verifier: s}
	key := Key{Password: s, Verifier: s, ClientKey: []byte(secret), SHA1: []byte(secret)}
	account := Account{User: "al", Host: "%", Methods: []Method{{"x", s}}}
	book := &Book{Roles: map[string]Role{"al": role}, Accounts: []Account{account}}
	var out bytes.Buffer
	for _, v := range []any{s, &s, role, &role, key, &key, account, book, *book, []Secret{s}, map[string]any{"k": s, "key": key}, fmt.Errorf("of %v: %s", s, s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%08b", "%e", "%20.3s"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		fmt.Fprint(&out, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		switch v.(type) {
		case Book, []Secret, map[string]any: // JSON of a Book is what is saved
		default:
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		}
	}
	hex := fmt.Sprintf("%x", secret)
	for _, bad := range []string{secret, "horse", hex, strings.ToUpper(hex), fmt.Sprint([]byte(secret))} {
		for _, line := range strings.Split(out.String(), "\n") {
			if strings.Contains(line, bad) {
				t.Errorf("printed: %s", line)
			}
		}
	}
}

func book() *Book {
	until := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return &Book{
		ServerVersion: "15.18",
		Taken:         time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		Roles: map[string]Role{
			"al":     {Name: "al", Verifier: secret, CanLogin: true, ValidUntil: &until, MemberOf: []string{"staff"}},
			"bo":     {Name: "bo", CanLogin: true},
			"root":   {Name: "root", CanLogin: true, Superuser: true},
			"nobody": {Name: "nobody"},
		},
		Databases: map[string]Database{
			"app":       {Name: "app", AllowConnections: true},
			"private":   {Name: "private", AllowConnections: true, Connect: []string{"staff"}},
			"nobodys":   {Name: "nobodys", AllowConnections: true, Connect: []string{}},
			"template0": {Name: "template0"},
		},
		Parameters: map[string]string{"TimeZone": "UTC"},
		Accounts:   []Account{{User: "al", Host: "%", Methods: []Method{{"mysql_native_password", secret}}}},
		Greeting:   &Greeting{ServerVersion: "5.5.5-10.11.19-MariaDB", Capabilities: 1 << 31, Extended: 7},
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.json")
	if _, err := Load(path); !errors.Is(err, ErrNothingSaved) {
		t.Errorf("Load of nothing = %v", err)
	}
	for range 2 {
		if err := Save(path, book()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, book()) {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if got.Roles["al"].Verifier != secret || got.Databases["nobodys"].Connect == nil || got.Databases["app"].Connect != nil {
		t.Error("a saved Book has lost something")
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}

	os.WriteFile(path, []byte(`{"format":1,"roles":{"al":{"verifier":"`+secret), 0o600)
	if _, err := Load(path); !errors.Is(err, ErrUnreadable) || strings.Contains(err.Error(), secret) {
		t.Errorf("Load of a damaged file = %v", err)
	}
	os.WriteFile(path, []byte(`{"format":2}`), 0o600)
	if _, err := Load(path); !errors.Is(err, ErrUnknownFormat) {
		t.Errorf("Load of a newer file = %v", err)
	}
	if err := Save(filepath.Join(path, "no", "directory"), book()); err == nil {
		t.Error("saved below a file")
	}
}

func TestAdmit(t *testing.T) {
	tests := []struct {
		user, database string
		want           error
	}{
		{"al", "app", nil},
		{"al", "private", nil},
		{"bo", "private", ErrNoConnect},
		{"root", "private", nil},
		{"root", "nobodys", nil},
		{"al", "nobodys", ErrNoConnect},
		{"root", "template0", ErrNotAccepting},
		{"al", "nope", ErrNoDatabase},
		{"nobody", "nope", ErrNoLogin},
		{"stranger", "app", ErrNoRole},
		{"al", "", nil},
		{"nobody", "", ErrNoLogin},
	}
	for _, tt := range tests {
		if got := book().Admit(tt.user, tt.database); !errors.Is(got, tt.want) || (tt.want == nil) != (got == nil) {
			t.Errorf("Admit(%s, %s) = %v, want %v", tt.user, tt.database, got, tt.want)
		}
	}
}

func TestExpired(t *testing.T) {
	role, found := book().Role("al")
	if !found || role.Expired(role.ValidUntil.Add(-time.Second)) || !role.Expired(role.ValidUntil.Add(time.Second)) {
		t.Error("VALID UNTIL is not kept")
	}
	if role, _ := book().Role("bo"); role.Expired(time.Now().AddDate(100, 0, 0)) {
		t.Error("a role without VALID UNTIL expired")
	}
	if _, found := book().Role("stranger"); found {
		t.Error("a stranger is known")
	}
}

// oracle is a Source that says what it is told to. It cannot be compared, as a
// Source need not be.
type oracle struct {
	say  *Book
	fail error
	_    []int
}

func (o oracle) Book(ctx context.Context, user, database string) (*Book, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return o.say, o.fail
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.json")
	var out lines
	s := NewStore(path, slog.New(slog.NewTextHandler(&out, nil)))
	ctx := context.Background()

	if _, err := s.Book(ctx, "al", "app"); !errors.Is(err, ErrNothingSaved) {
		t.Errorf("new and asleep: %v", err)
	}
	if err := s.SaveAll(ctx); !errors.Is(err, ErrAsleep) {
		t.Errorf("SaveAll while asleep = %v", err)
	}
	live := book()
	s.Live(oracle{say: live})
	if got, err := s.Book(ctx, "al", "app"); err != nil || got != live {
		t.Errorf("awake: %p, %v", got, err)
	}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	s.Live(oracle{fail: refused})
	if _, err := s.Book(ctx, "al", "app"); !errors.Is(err, refused) || !errors.Is(err, ErrNothingSaved) {
		t.Errorf("awake, unreachable, nothing saved: %v", err)
	}
	s.Live(oracle{say: live})
	if err := s.SaveAll(ctx); err != nil {
		t.Fatal(err)
	}

	s.Live(oracle{fail: fmt.Errorf("query: %w", refused)})
	for range 3 {
		if got, err := s.Book(ctx, "al", "app"); err != nil || got != live {
			t.Errorf("awake, unreachable: %v, %v", got, err)
		}
	}
	if n := out.count(); n != 1 {
		t.Errorf("the log was told %d times", n)
	}
	for _, lost := range []error{ErrUnavailable, net.ErrClosed} {
		s.Live(oracle{fail: fmt.Errorf("x: %w", lost)})
		if _, err := s.Book(ctx, "al", "app"); err != nil {
			t.Errorf("%v: not taken for a lost connection", lost)
		}
	}
	denied := errors.New("permission denied for table pg_authid")
	s.Live(oracle{fail: denied})
	if _, err := s.Book(ctx, "al", "app"); !errors.Is(err, denied) {
		t.Errorf("an engine that says no: %v", err)
	}
	if err := s.SaveAll(ctx); !errors.Is(err, denied) {
		t.Errorf("SaveAll of an engine that says no: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	s.Live(oracle{say: live})
	if _, err := s.Book(gone, "al", "app"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that went: %v", err)
	}

	s.Asleep()
	if got, err := s.Book(ctx, "al", "app"); err != nil || got != live {
		t.Errorf("asleep: %v, %v", got, err)
	}
	again := NewStore(path, slog.New(slog.DiscardHandler))
	if got, err := again.Book(ctx, "al", "app"); err != nil || !reflect.DeepEqual(got, live) {
		t.Errorf("asleep after a restart: %v, %v", got, err)
	}
}

// lines counts what a log writes.
type lines struct {
	mu sync.Mutex // protects n
	n  int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return len(p), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func TestKeyring(t *testing.T) {
	k := NewKeyring()
	k.Put("al", Key{Password: secret, Verifier: "v1"})
	if key, ok := k.Get("al", "v1"); !ok || key.Password != secret {
		t.Error("a key is lost")
	}
	for _, ask := range [][2]string{{"al", "v2"}, {"bo", "v1"}, {"al", ""}} {
		if _, ok := k.Get(ask[0], Secret(ask[1])); ok {
			t.Errorf("%s was given a key for verifier %s", ask[0], ask[1])
		}
	}
	if text, err := json.Marshal(Key{Password: secret, SHA1: []byte(secret)}); err != nil || string(text) != `"[redacted]"` {
		t.Errorf("a key in JSON: %s, %v", text, err)
	}
}
