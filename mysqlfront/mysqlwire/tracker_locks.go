package mysqlwire

import (
	"regexp"
	"slices"
)

// plainLock is a statement that takes one lock by a literal name, which means
// the same in every sql_mode and character set.
var plainLock = regexp.MustCompile(`(?i)^\s*(?:select|do)\s+get_lock\s*\(\s*'([a-z0-9_.:/-]{1,64})'\s*,\s*-?[0-9.]+\s*\)(?:\s+(?:as\s+)?[a-z_]+)?[\s;]*$`)

// mostLocks is how many names of locks are kept for one session.
const mostLocks = 64

// noticeLock keeps the lock that a text, which names GET_LOCK, may take.
func (t *Tracker) noticeLock(text []byte, prepared *Statement) {
	if prepared == nil && len(text) <= maxNoticed {
		if m := plainLock.FindSubmatch(text); m != nil && len(t.facts.UserLocks) < mostLocks {
			t.addLock(string(m[1]))
			return
		}
	}
	t.facts.UserLock = true
}

func (t *Tracker) addLock(name string) {
	if !slices.Contains(t.facts.UserLocks, name) {
		t.facts.UserLocks = append(slices.Clip(t.facts.UserLocks), name)
	}
}

// Unlocked forgets the names of locks that the server says this session does
// not hold.
func (t *Tracker) Unlocked() { t.facts.UserLocks = nil }

// lockWord is what a text names that may take a lock.
const lockWord = "get_lock"

// noticeMore looks for a lock in more of a text, also where the word was cut.
func (t *Tracker) noticeMore(more []byte) {
	if t.facts.UserLock {
		return
	}
	var seam [2 * (len(lockWord) - 1)]byte
	n := copy(seam[:], t.facts.tail[:])
	n += copy(seam[n:], more)
	t.facts.UserLock = holds(more, lockWord) || holds(seam[:n], lockWord)
	t.noticeTail(more)
}

// noticeTail keeps the last bytes of what has been looked at.
func (t *Tracker) noticeTail(text []byte) {
	keep := len(t.facts.tail)
	if len(text) >= keep {
		copy(t.facts.tail[:], text[len(text)-keep:])
		return
	}
	copy(t.facts.tail[:], t.facts.tail[len(text):])
	copy(t.facts.tail[keep-len(text):], text)
}
