package pgfront

import (
	"errors"
	"strings"
	"sync"
	"time"
)

// A new session may have the backend of one that has ended if it finds in it
// what it would find in a backend of its own. What the engine reads at a login
// and no reset reads again is looked at whenever a spare is to serve a new
// session: the settings of its role and database (ALTER ROLE, ALTER DATABASE …
// SET), what the configuration was when it was read last, who the session is,
// and where. If that is what it was at a look before the spare's own login
// began, then it was so at that login.

// errStale is a spare that may not be what a new backend would be.
var errStale = errors.New("it was logged in before something changed, perhaps")

// printQuery gives all of that in one row. The oids are those of the shared
// catalogue; 0 stands for all roles, or all databases.
const printQuery = `select session_user, pg_catalog.current_database(), pg_catalog.pg_conf_load_time(),` +
	` exists (select from pg_catalog.pg_event_trigger where evtevent operator(pg_catalog.=) 'login' and evtenabled operator(pg_catalog.<>) 'D'),` +
	` (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', xmin, setdatabase, setrole), ' ' order by setdatabase, setrole) from pg_catalog.pg_db_role_setting` +
	` where setdatabase operator(pg_catalog.=) any (array[0::pg_catalog.oid, (select oid from pg_catalog.pg_database where datname operator(pg_catalog.=) pg_catalog.current_database())])` +
	` and setrole operator(pg_catalog.=) any (array[0::pg_catalog.oid, pg_catalog.quote_ident(session_user)::pg_catalog.regrole::pg_catalog.oid]))`

// seesAsNew judges a spare by what printQuery says in it.
func (s *session) seesAsNew(p *spare, r reply) bool {
	if r.failed != nil || len(r.rows) != 1 || len(r.rows[0]) != 5 {
		return false
	}
	row := r.rows[0]
	if row[0] != s.user || row[1] != s.database || row[3] != "f" || (p.parameters["is_superuser"] == "on") != s.superuser {
		return false
	}
	of := printOf{s.target.Name, s.user, s.database}
	return s.front.prints.since(of, strings.Join(row, "\x00"), time.Now()).Before(p.born)
}

// prints are what printQuery gave last, and since when it has.
type prints struct {
	mu   sync.Mutex // protects following
	seen map[printOf]print
}

type printOf struct{ cluster, user, database string }

type print struct {
	text  string
	since time.Time
}

const maxPrints = 4096

// since is when this text was seen first, without another since then.
func (ps *prints) since(of printOf, text string, now time.Time) time.Time {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if last, known := ps.seen[of]; known && last.text == text {
		return last.since
	}
	if ps.seen == nil || len(ps.seen) >= maxPrints {
		ps.seen = map[printOf]print{}
	}
	ps.seen[of] = print{text, now}
	return now
}
