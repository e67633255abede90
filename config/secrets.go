package config

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// ReadSecret reads the secret in a file: its first line.
func ReadSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	password, _, _ := strings.Cut(string(data), "\n")
	password = strings.TrimSuffix(password, "\r")
	if password == "" {
		return "", fmt.Errorf("read secret: the first line of %s is empty; write the secret there", path)
	}
	return password, nil
}

// ReadUsers reads a users_file: one `"user" "password"` a line, as in
// pgbouncer's auth_file. A quote within a name or a password is doubled; lines
// that begin with ; are comments. Errors name the line and nothing of its
// contents.
func ReadUsers(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer file.Close()
	users := map[string]string{}
	lines := bufio.NewScanner(file)
	for at := 1; lines.Scan(); at++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == ';' {
			continue
		}
		user, rest, first := quoted(text)
		password, rest, second := quoted(strings.TrimLeft(rest, " \t"))
		if !first || !second || rest != "" || user == "" {
			return nil, fmt.Errorf(`read users: %s:%d: not "user" "password"; write both in double quotes`, path, at)
		}
		if _, twice := users[user]; twice {
			return nil, fmt.Errorf("read users: %s:%d: a user is given twice; keep one", path, at)
		}
		users[user] = password
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return users, nil
}

// quoted takes a text in double quotes off the front of s.
func quoted(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", s, false
}
