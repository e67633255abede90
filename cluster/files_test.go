package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func writeAll(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if r, err := readRecord(path); err != nil || !reflect.DeepEqual(r, record{}) {
		t.Fatalf("of nothing: %+v, %v", r, err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := record{State: Paused, Capacity: 4, PausedSince: at, LastActivity: at.Add(-time.Hour), LastError: "why", ACUSeconds: 12.5,
		MeteredAt: at, MeteredRate: 2, MeteredFrom: at, Days: []Day{{"2026-03-01", 12.5}}, Fixed: 8, RaisedAt: at, LoweredAt: at}
	if err := writeRecord(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readRecord(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(left) != 1 || len(hidden) != 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
}

func TestDamagedStateIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) {
			os.WriteFile(filepath.Join(h.config.Dir, "state.json"), []byte(`{"state": "pau`), 0o600)
		})
		h.wantState(Paused)
		if err := h.close(); err != nil {
			t.Error(err)
		}
		aside, err := os.ReadFile(filepath.Join(h.config.Dir, "state.json.damaged"))
		if err != nil || string(aside) != `{"state": "pau` {
			t.Errorf("set aside: %q, %v", aside, err)
		}
	})
}

func TestJournalMakesRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	filler := strings.Repeat("x", 1000)
	const n = 2500
	for i := range n {
		if err := j.add(Event{Time: time.Now(), ID: fmt.Sprint(i), Reason: filler}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(j *journal) {
		t.Helper()
		events, next, _ := j.from(0)
		if len(events) != keptEvents || events[0].ID != fmt.Sprint(n-keptEvents) || events[keptEvents-1].ID != fmt.Sprint(n-1) {
			t.Errorf("kept %d events from %s to %s", len(events), events[0].ID, events[len(events)-1].ID)
		}
		if more, _, _ := j.from(next); len(more) != 0 {
			t.Errorf("%d events after the last", len(more))
		}
		if tail, _, _ := j.from(next - 3); len(tail) != 3 {
			t.Errorf("%d events from the third last on", len(tail))
		}
	}
	check(j)
	j.close()
	for _, name := range []string{path, path + ".1"} {
		if info, err := os.Stat(name); err != nil || info.Size() > rotateAt {
			t.Errorf("%s: %v, %v", name, info.Size(), err)
		}
	}
	again, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	check(again)
}

func TestJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	os.WriteFile(path, []byte(`{"time":"2026-01-01T00:00:00Z","cluster":"shop","id":"a","message":"m"}`+"\n"+`{"time":"2026-01-0`), 0o600)
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	j.add(Event{Time: time.Now(), ID: "b"})
	j.close()
	j, err = openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	events, _, _ := j.from(0)
	if len(events) != 2 || events[0].ID != "a" || events[1].ID != "b" {
		t.Errorf("read %+v", events)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		var ids []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for e := range h.Follow(ctx) {
				ids = append(ids, e.ID)
				if e.Cluster != "shop" || e.Time.IsZero() {
					t.Errorf("event %+v", e)
				}
			}
		}()
		h.close()
		synctest.Wait()
		cancel()
		<-done
		if got, want := strings.Join(ids, " "), "RDS-EVENT-0147 RDS-EVENT-0148 RDS-EVENT-0145"; got != want {
			t.Errorf("followed %s, want %s", got, want)
		}
		if n := len(h.Events()); n != 3 {
			t.Errorf("%d events kept", n)
		}
	})
}
