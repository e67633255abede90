package admin

import (
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	styleText  = regexp.MustCompile(`(?s)<style[^>]*>.*</style>`)
	scriptText = regexp.MustCompile(`(?s)<script[^>]*>.*</script>`)
	nonceText  = regexp.MustCompile(`'nonce-([A-Z2-7]+)'`)
)

// TestPage compares what the page says with a golden file.
func TestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		now := time.Now()
		b.machine.status.PausesAt = now.Add(4*time.Minute + 12*time.Second)
		shop := b.Clusters
		b.Clusters = func() []Managed {
			all := shop()
			asleep := all[1].Machine.(*machine)
			asleep.status.PausedSince = now.Add(-3 * time.Hour)
			broken := all[1]
			broken.Name = "logs"
			broken.Machine = &machine{status: cluster.Status{State: cluster.Failed, TargetCapacity: 2, Min: 2, Max: 2, LastError: "cannot start"}}
			return append(all, broken)
		}
		w := b.ask("GET", "/", "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		got := scriptText.ReplaceAllString(styleText.ReplaceAllString(w.Body.String(), "<style/>"), "<script/>")
		const golden = "testdata/page.html"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the page has changed (go test ./admin -run TestPage -update, and read the difference):\n%s", got)
		}
	})
}

// TestPageRunsOnlyItsOwn: what stands in the page is text, and the policy
// names no source but the page's own script and style.
func TestPageRunsOnlyItsOwn(t *testing.T) {
	b := newBench(t)
	evil := `<script>alert(1)</script>`
	b.machine.status.LastError = evil
	b.machine.events[0].Reason = evil
	w := b.ask("GET", "/", "")
	text, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	if strings.Contains(text, evil) {
		t.Error("markup in what others said")
	}
	nonces := nonceText.FindAllStringSubmatch(policy, -1)
	if len(nonces) != 2 || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Fatalf("policy %s", policy)
	}
	if n := strings.Count(text, `nonce="`+nonces[0][1]+`"`); n != 2 {
		t.Errorf("%d elements have the nonce", n)
	}
	for _, forbidden := range []string{"http://", "https://", " style=", " onclick=", "//cdn"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	if again := b.ask("GET", "/", "").Header().Get("Content-Security-Policy"); again == policy {
		t.Error("the nonce is always the same")
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59*time.Second + 600*time.Millisecond: "1 min 0 s", 61 * time.Second: "1 min 1 s",
		time.Hour: "1 h 0 min", 25*time.Hour + 59*time.Minute: "1 d 1 h",
	} {
		if got := words(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
