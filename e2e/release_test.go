package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// releaseAfter is put into each cluster's connections, so that the whole suite
// can be run with sessions that give up their backends: RELEASE_AFTER=0 make e2e.
var releaseAfter = os.Getenv("RELEASE_AFTER")

// atRest is the phase of a session that is only connected.
func atRest() string {
	if releaseAfter == "0" {
		return "parked"
	}
	return "idle"
}

// makeReleasing writes it into the configuration of a proxy that has not been
// started, making that first where there is none.
func (p *proxy) makeReleasing() {
	p.t.Helper()
	if _, err := os.Stat(filepath.Join(p.dir, "serverlessproxy.yaml")); err != nil {
		p.start()
		p.stop()
	}
	p.rewrite(func(config string) string { return p.amendClusters(config, releasing()) })
}

func releasing() string { return fmt.Sprintf("connections: {release_after: %q}", releaseAfter) }

// unite puts release_after into a line that is to be added to the clusters, in
// place of the line that holds it alone: a key may stand there only once.
func unite(config, line string) (string, string) {
	keys, ok := strings.CutPrefix(line, "connections: {")
	if releaseAfter == "" || !ok || line == releasing() || strings.Contains(line, "release_after") {
		return config, line
	}
	var b strings.Builder
	for l := range strings.Lines(config) {
		if strings.TrimSpace(l) != releasing() {
			b.WriteString(l)
		}
	}
	return b.String(), strings.TrimSuffix(releasing(), "}") + ", " + keys
}
