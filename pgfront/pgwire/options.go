package pgwire

import (
	"slices"
	"strings"
)

// CutOptions takes the settings of these names out of a start-up message's
// "options" and returns what is left, untouched, and their values. It knows
// the forms NAME=VALUE, -c NAME=VALUE, -cNAME=VALUE and --NAME=VALUE; words
// are parted as the server parts them (a backslash escapes).
func CutOptions(options string, names ...string) (rest string, found map[string]string) {
	found = map[string]string{}
	var kept []string
	words := splitOptions(options)
	for i := 0; i < len(words); i++ {
		word, taken := words[i], words[i]
		setting := unescape(word)
		switch {
		case word == "-c" && i+1 < len(words):
			setting, taken = unescape(words[i+1]), word+" "+words[i+1]
			i++
		case strings.HasPrefix(setting, "-c"):
			setting = setting[2:]
		case strings.HasPrefix(setting, "--"):
			setting = setting[2:]
		}
		name, value, ok := strings.Cut(setting, "=")
		if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); ok && i >= 0 {
			found[names[i]] = value
			continue
		}
		kept = append(kept, taken)
	}
	if len(found) == 0 {
		return options, found
	}
	return strings.Join(kept, " "), found
}

// splitOptions parts at white space that no backslash escapes; the words keep
// their backslashes.
func splitOptions(s string) []string {
	var words []string
	start, escaped := -1, false
	for i := 0; i < len(s); i++ {
		space := strings.IndexByte(" \t\n\v\f\r", s[i]) >= 0 && !escaped
		switch {
		case space && start >= 0:
			words, start = append(words, s[start:i]), -1
		case !space && start < 0:
			start = i
		}
		escaped = s[i] == '\\' && !escaped
	}
	if start >= 0 {
		words = append(words, s[start:])
	}
	return words
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
