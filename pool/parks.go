package pool

import "serverlessproxy/cluster"

// A session does not know why it is asked to park, nor at its restore why it
// was parked: its seat does, and counts.

// CountPark counts an attempt to park the session. Where nobody asked for it,
// the session gave up its backend by itself, at a safe point.
func (s *Seat) CountPark(o Outcome) {
	why := ForRelease
	if asked := s.asked.Load(); asked > 0 {
		why = ParkReason(asked - 1)
	}
	s.countPark(why, o)
}

// Insisted tells whether the session is asked to park although its client may
// have sent a request meanwhile, which waits then: for a change of capacity, or
// because another waits for a backend.
func (s *Seat) Insisted() bool {
	return s.asked.Load() == uint32(ForScale)+1 || s.insisted.Load()
}

// CountOutlived counts that the session has outlived its engine.
func (s *Seat) CountOutlived() { s.countPark(ForEngineLost, Done) }

func (s *Seat) countPark(why ParkReason, o Outcome) {
	s.tally.Park(why, o)
	if o == Done {
		s.parkedFor.Store(uint32(why))
	}
}

// CountRestore counts an attempt to restore the session.
func (s *Seat) CountRestore(o Outcome) { s.tally.Restore(ParkReason(s.parkedFor.Load()), o) }

// whyAll is why everybody is asked to park.
func (p *Pool) whyAll() ParkReason {
	if p.waker.Status().State == cluster.Scaling {
		return ForScale
	}
	return ForPause
}
