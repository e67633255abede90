package mysqlfront

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
)

// known are the settings of a session, and a sum that tells whether a session
// has these. An engine reads the values of a list of variables several times
// faster than the table of them, in which each has a row with its description:
// so a session is asked for the values first, and for the table only if their
// sum is none that is known.
type known struct {
	fresh   settings // of a session that has just begun; shared
	changed settings // what differs from it
	asks    string   // the expression that gives the values; "": no sum is known
	sum     sum
}

// sum is of all settings but those that limit statements, which ours are exempt
// from.
type sum [sha256.Size]byte

func sumOf(asks, values string) sum { return sha256.Sum256([]byte(asks + "\x00" + values)) }

// asking is the expression that gives the values of all these settings as one.
func asking(all settings) string {
	var text strings.Builder
	text.WriteString("CONCAT_WS(_binary x'00', @@gtid_seq_no") // no setting, but it keeps a session from being parked
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(limiting, name) {
			text.WriteString(", IFNULL(@@" + name + ", x'00')")
		}
	}
	return text.String() + ")"
}

// wanted are all the session's settings.
func (k *known) wanted() settings {
	all := make(settings, len(k.fresh))
	maps.Copy(all, k.fresh)
	maps.Copy(all, k.changed)
	return all
}
