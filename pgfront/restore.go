package pgfront

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
)

// setter sets a setting and tells what became of it.
const setter = `select pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, false)`

// rebuild makes a new backend what the session's last one was. An error for
// which passing holds leaves the session parked; another is for its client.
func (s *session) rebuild(ctx context.Context, o *opened) error {
	if s.kept == nil {
		return nil
	}
	defer interruptIO(ctx, o.conn)()
	d := newDialogue(o.conn)
	plan := s.kept.plan(o.as)
	batches := make([][]byte, len(plan))
	for i, step := range plan {
		batches[i] = step.batch
	}
	replies, err := d.run(batches...)
	if err != nil {
		return fmt.Errorf("restore session: %w", err)
	}
	var substitutes [][]byte
	for i, step := range plan {
		err := step.check(replies[i])
		if lost := (*told)(nil); step.name != nil && errors.As(err, &lost) {
			substitutes = append(substitutes, step.substitute(lost))
			err = nil
		}
		if err != nil {
			return err
		}
		if step.unseen != nil && replies[i].failed == nil {
			step.unseen.shape, step.unseen.unseen = replies[i].shape, false
		}
		if step.ages {
			s.kept.age(replies[i].rows)
		}
	}
	if err := s.putSubstitutes(d, substitutes); err != nil {
		return err
	}
	if err := s.takeEars(ctx, d); err != nil {
		return err
	}
	o.rest = append(withoutStatus(d.aside), append(o.rest, d.reader.Rest()...)...)
	maps.Copy(o.parameters, d.reported)
	return nil
}

// withoutStatus leaves notifications alone: what changed of the parameters is
// told once, as a whole.
func withoutStatus(aside []byte) (kept []byte) {
	for len(aside) > 0 {
		end := 1 + int(uint32(aside[1])<<24|uint32(aside[2])<<16|uint32(aside[3])<<8|uint32(aside[4]))
		if aside[0] != pgwire.ParameterStatus {
			kept = append(kept, aside[:end]...)
		}
		aside = aside[end:]
	}
	return kept
}

// step is one batch of a restore, and what must come of it.
type step struct {
	what  string
	batch []byte
	want  []setting // the rows of set_config, in order
	shape []byte    // nil: any
	ages  bool      // it tells since when there is each statement
	// name is of the prepared statement that it is about: one that cannot be
	// what it was fails when it is used. nil: then the session fails.
	name  *string
	types []uint32
	// undescribed: the client may know it by a description that nobody else
	// knows any more.
	undescribed bool
	unseen      *statement // it is described for the first time
}

// substitute puts a statement that fails in the place of one that cannot be
// what it was.
func (st *step) substitute(lost *told) []byte {
	batch := closeStatement(nil, *st.name)
	return withSync(parseMessage(batch, *st.name, pgwire.Substitute(lost.code, lost.detail), st.types))
}

func (s *session) putSubstitutes(d *dialogue, batches [][]byte) error {
	if len(batches) == 0 {
		return nil
	}
	s.traffic.tracker.Substituted()
	replies, err := d.run(batches...)
	if err != nil {
		return fmt.Errorf("restore session: %w", err)
	}
	for _, r := range replies {
		if r.failed != nil {
			return notRestored("prepared statements", r.failed.code, r.failed.text)
		}
	}
	return nil
}

// age notes since when there is each statement in the new backend, so that
// the next reading knows them again.
func (k *state) age(rows [][]string) {
	since := map[string]string{}
	for _, row := range rows {
		since[row[0]] = row[1]
	}
	for i := range k.statements {
		k.statements[i].since = since[k.statements[i].name]
	}
}

// plan is a restore, in an order in which nothing trips what comes after it:
// encoding, settings, who it is, statements, channels, the unnamed statement,
// and last what limits statements. as is who the backend works as now. There is
// nothing to do for a session that is what it was at its login.
func (k *state) plan(as persona) []step {
	early, late := step{what: "settings"}, step{what: "settings"}
	set := func(to *step, name, value string) {
		to.batch = execute(to.batch, ourName, name, value)
		to.want = append(to.want, setting{name, value})
	}
	for _, s := range k.settings {
		if last(s.name) {
			set(&late, s.name, s.value)
		} else {
			set(&early, s.name, s.value)
		}
	}
	if k.sessionUser != "" && as != (persona{k.sessionUser, k.role}) {
		set(&early, "session_authorization", k.sessionUser)
		set(&early, "role", k.role)
	}
	var plan []step
	sets := len(early.want)+len(late.want) > 0
	if sets {
		early.batch = withSync(append(parseMessage(nil, ourName, setter, nil), early.batch...))
		plan = append(plan, early)
	}
	for i := range k.statements {
		plan = append(plan, k.statements[i].step())
	}
	if len(k.statements) > 0 {
		plan = append(plan, step{what: "prepared statements", batch: withSync(execute(parseMessage(nil, "", ages, nil), "")), ages: true})
	}
	for _, channel := range k.channels {
		batch := parseMessage(nil, "", "listen "+identifier(channel), nil)
		plan = append(plan, step{what: "LISTEN", batch: withSync(execute(batch, ""))})
	}
	switch {
	case k.unnamed != nil:
		batch := pgwire.AppendMessage(nil, pgwire.Parse, k.unnamed)
		plan = append(plan, step{what: "the unnamed prepared statement", batch: withSync(describe(batch, "")), shape: k.unnamedShape, name: new(string)})
	case len(k.statements)+len(k.channels) > 0: // ours, that is
		plan = append(plan, step{what: "the unnamed prepared statement", batch: withSync(closeStatement(nil, ""))})
	}
	if sets {
		late.batch = withSync(closeStatement(late.batch, ourName))
		plan = append(plan, late)
	}
	return plan
}

func (st *statement) step() step {
	var batch []byte
	if st.fromSQL {
		batch = closeStatement(execute(parseMessage(nil, "", st.text, nil), ""), "")
	} else {
		batch = parseMessage(nil, st.name, st.text, st.types)
	}
	step := step{what: fmt.Sprintf("prepared statement %q", st.name), batch: withSync(describe(batch, st.name)), shape: st.shape, name: &st.name, types: st.types}
	if st.unseen {
		step.unseen = st
	} else {
		step.undescribed = st.shape == nil
	}
	return step
}

func (st *step) check(r reply) error {
	if r.failed != nil {
		if passing(r.failed) {
			return r.failed
		}
		return notRestored(st.what, r.failed.code, r.failed.text)
	}
	if len(r.rows) != len(st.want) && st.want != nil {
		return notRestored(st.what, "XX000", "the server did not answer as it should")
	}
	for i, want := range st.want {
		if got := r.rows[i][0]; got != want.value {
			return notRestored("setting "+want.name, "55000", fmt.Sprintf("it is %q now", got))
		}
	}
	if st.undescribed || st.shape != nil && !sameShape(st.shape, r.shape) {
		return notRestored(st.what, "0A000", "cached plan must not change result type")
	}
	return nil
}

// notRestored is what a client is told whose session cannot be what it was.
func notRestored(what, code, why string) *told {
	return &told{code: code, message: fmt.Sprintf("cannot restore the session: %s", what), detail: why, refusal: pool.RefusedResumeFailed}
}

// catchUp tells the client what is different now that there is a new backend.
func (s *session) catchUp(o *opened) error {
	s.traffic.tracker.Remap(o.key.PID, s.shown.PID)
	b := s.takeInbox()
	for _, name := range slices.Sorted(maps.Keys(o.parameters)) {
		if value := o.parameters[name]; s.reported[name] != value {
			b = pgwire.AppendParameterStatus(b, name, value)
		}
	}
	s.reported = o.parameters
	if len(b) == 0 {
		return nil
	}
	return s.write(b)
}
