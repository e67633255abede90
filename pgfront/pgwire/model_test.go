package pgwire

import (
	"math/rand/v2"
	"testing"
)

// A model of the server, as postgres.c and copyfromparse.c behave, decides
// what is really under way; the Tracker, that sees only what passes, must never
// think "safe" where the model does not.

type clientMessage struct {
	kind byte
	does string // "", error, begin, commit, copy, copybad (fails right after its response), bad (data)
}

type modelServer struct {
	skipping bool // an error in a batch: until Sync
	extended bool // extended messages since the last Sync
	copying  bool
	inBatch  bool // the COPY is an Execute's
	status   byte
	dead     bool
	out      []byte // message types; a ReadyForQuery as its status in lower case
}

func (m *modelServer) emit(kinds ...byte) { m.out = append(m.out, kinds...) }

func (m *modelServer) fail() {
	m.emit('E')
	if m.status == 'T' {
		m.status = 'E'
	}
}

func (m *modelServer) ready() { m.emit(m.status + 'a' - 'A') }

func (m *modelServer) handle(c clientMessage) {
	if m.copying {
		m.handleCopy(c)
		return
	}
	switch c.kind {
	case 'd', 'c', 'f', 'H':
		return
	case 'S':
		m.skipping, m.extended = false, false
		m.ready()
		return
	}
	if m.skipping {
		return
	}
	simple := c.kind == 'Q'
	m.extended = m.extended || !simple
	switch c.does {
	case "error":
		m.fail()
		m.skipping = !simple
	case "copybad":
		m.emit('G')
		m.fail()
		m.skipping = !simple
	case "copy":
		m.emit('G')
		m.copying, m.inBatch = true, !simple
		return
	case "begin":
		if m.status == 'I' {
			m.status = 'T'
		}
		m.emit('C')
	case "commit":
		m.status = 'I'
		m.emit('C')
	default:
		m.emit('C')
	}
	if simple {
		m.ready()
	}
}

func (m *modelServer) handleCopy(c clientMessage) {
	switch {
	case c.kind == 'd' && c.does == "", c.kind == 'S', c.kind == 'H':
		return
	case c.kind == 'c':
		m.emit('C')
	case c.kind == 'd', c.kind == 'f':
		m.fail()
		m.skipping = m.inBatch
	default:
		m.dead = true // synchronization lost
		m.emit('E')
		return
	}
	m.copying = false
	if !m.inBatch {
		m.ready()
	}
}

// pending tells whether the server has answered all that it was sent.
func (m *modelServer) pending(queue []clientMessage) bool {
	for _, c := range queue {
		switch c.kind {
		case 'd', 'c', 'f', 'H':
		default:
			return true
		}
	}
	return len(m.out) > 0 || m.copying || m.skipping || m.extended || m.status != 'I'
}

var repertoire = []clientMessage{
	{'Q', ""}, {'Q', "error"}, {'Q', "begin"}, {'Q', "commit"}, {'Q', "copy"}, {'Q', "copybad"},
	{'P', ""}, {'P', "error"}, {'B', ""}, {'E', ""}, {'E', "begin"}, {'E', "commit"}, {'E', "copy"}, {'E', "copybad"}, {'E', "error"},
	{'S', ""}, {'S', ""}, {'S', ""}, {'H', ""}, {'d', ""}, {'d', "bad"}, {'c', ""}, {'c', ""}, {'f', ""},
}

func TestTrackerAgainstModel(t *testing.T) {
	rounds := 200_000
	if testing.Short() {
		rounds = 20_000
	}
	safe := 0
	for seed := range rounds {
		safe += runModel(t, rand.New(rand.NewPCG(uint64(seed), 7)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if safe < rounds {
		t.Errorf("safe only %d times in %d rounds: the test shows nothing", safe, rounds)
	}
}

func FuzzTrackerModel(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { runModel(t, rand.New(rand.NewPCG(a, b))) })
}

// runModel plays a random pipeline, in a random interleaving, and returns how
// often the Tracker thought itself safe.
func runModel(t *testing.T, r *rand.Rand) (safe int) {
	var (
		tr     Tracker
		server = modelServer{status: 'I'}
		queue  []clientMessage
		log    []string
		eager  = 1 + r.IntN(6) // how far the client runs ahead
	)
	for range 40 {
		switch step := r.IntN(eager + 4); {
		case step < eager && len(queue) < 2*eager:
			c := repertoire[r.IntN(len(repertoire))]
			tr.FromClient(msg(c.kind))
			queue = append(queue, c)
			log = append(log, ">"+string(c.kind)+c.does)
		case len(server.out) > 0 && step%2 == 0:
			kind := server.out[0]
			server.out = server.out[1:]
			if kind >= 'a' {
				tr.FromServer(ready(kind - 'a' + 'A'))
			} else {
				tr.FromServer(msg(kind))
			}
			log = append(log, "<"+string(kind))
		case len(queue) > 0 && !server.dead:
			server.handle(queue[0])
			queue = queue[1:]
		}
		if server.dead {
			return safe
		}
		if tr.Safe() {
			safe++
			if server.pending(queue) {
				t.Errorf("safe, but not idle: %v, queue %v, server %+v", log, queue, server)
				return safe
			}
		}
	}
	return safe
}
