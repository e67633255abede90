package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeptSecret(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.token")
	first, err := keptSecret(path)
	if err != nil || len(first) < 20 {
		t.Fatalf("%q, %v", first, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := keptSecret(path); err != nil || again != first {
		t.Errorf("again: %q, %v", again, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keptSecret(path); err == nil || !strings.Contains(err.Error(), "is empty; remove it") {
		t.Error(err)
	}
	if _, err := keptSecret(filepath.Join(dir, "absent", "x")); err == nil {
		t.Error("a secret without a directory")
	}
}

// TestEntered: a directory below one that is root's alone is out of reach for
// an engine's user.
func TestEntered(t *testing.T) {
	top, err := os.MkdirTemp("", "entered")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	below := filepath.Join(top, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o711: true, 0o755: true} {
		if err := os.Chmod(top, mode); err != nil {
			t.Fatal(err)
		}
		if got := entered(below); got != want {
			t.Errorf("below %v: %v, want %v", mode, got, want)
		}
	}
}
