package admin

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var errorCodes = regexp.MustCompile(`fail\(http\.\w+, "(\w+)"|Code: "(\w+)"`)

// TestDocumented holds docs/api.md to the endpoints and the error codes.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := string(text)
	for path, m := range newBench(t).paths() {
		path = strings.TrimSuffix(path, "{$}")
		for method := range m {
			if method != "HEAD" && !regexp.MustCompile(method+"`?[^\n`]*(`[^`\n]*`[^`\n]*)*"+regexp.QuoteMeta(path)+"`").MatchString(documented) {
				t.Errorf("docs/api.md does not tell of %s %s", method, path)
			}
		}
	}
	for _, file := range []string{"errors.go", "guard.go", "handlers.go", "events.go", "routes.go", "admin.go", "capacity.go", "convert.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range errorCodes.FindAllStringSubmatch(string(source), -1) {
			if code := found[1] + found[2]; !strings.Contains(documented, "`"+code+"`") {
				t.Errorf("docs/api.md does not tell of the error %s", code)
			}
		}
	}
}
