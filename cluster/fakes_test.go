package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/acu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a Compute that runs nothing. It fails the test when two calls of
// it overlap, or when it is started twice or stopped without running.
type engine struct {
	t         testing.TB
	startTime time.Duration
	stopTime  time.Duration

	mu         sync.Mutex // protects following
	busy       string
	running    bool
	failing    error // of the next starts
	stopFails  error
	generation uint64
	exited     chan struct{}
	starts     int
	stops      int
	sizes      []acu.Size
	tooLarge   acu.Capacity // the size at which it does not start
}

// enter also says how long the call takes.
func (e *engine) enter(call string) (takes time.Duration, leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy != "" {
		e.t.Errorf("%s called during %s", call, e.busy)
	}
	e.busy = call
	takes = e.startTime
	if call == "Stop" {
		takes = e.stopTime
	}
	return takes, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.busy = ""
	}
}

func (e *engine) Start(ctx context.Context, size acu.Size) (Backend, error) {
	takes, leave := e.enter("Start")
	defer leave()
	if err := pass(ctx, takes); err != nil {
		return Backend{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.starts++
	e.sizes = append(e.sizes, size)
	if size.Capacity == e.tooLarge && e.tooLarge != 0 {
		return Backend{}, errors.New("out of memory")
	}
	if e.failing != nil {
		return Backend{}, e.failing
	}
	if !e.running { // else it is adopted
		e.generation++
		e.running, e.exited = true, make(chan struct{})
	}
	return Backend{Network: "unix", Address: fmt.Sprintf("/run/%d", e.generation), Generation: e.generation}, nil
}

func (e *engine) Stop(ctx context.Context) error {
	takes, leave := e.enter("Stop")
	defer leave()
	if err := pass(ctx, takes); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stops++
	if e.stopFails != nil {
		return e.stopFails
	}
	e.running = false
	return nil
}

func (e *engine) Resize(context.Context, acu.Size) (Backend, error) {
	return Backend{}, errors.New("not in this test")
}

func (e *engine) Exited() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.exited
}

func (e *engine) Running(context.Context) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running, nil
}

// die ends the engine unasked; false if it does not run.
func (e *engine) die() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running || e.busy != "" {
		return false
	}
	e.running = false
	close(e.exited)
	return true
}

func (e *engine) set(change func(*engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

func (e *engine) counts() (starts, stops int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.starts, e.stops
}

// pass takes a time, or less if ctx ends.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// elastic is an engine that takes another size while it runs.
type elastic struct {
	*engine
	needsRestart bool
	fails        error
}

func (e *elastic) Resize(context.Context, acu.Size) (Backend, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Backend{Network: "unix", Address: fmt.Sprintf("/run/%d", e.generation), Generation: e.generation}, e.fails
}

func (e *elastic) Plan(from, to acu.Size) Steps {
	change := func(name string) []SettingChange {
		return []SettingChange{{name, fmt.Sprint(from.Memory), fmt.Sprint(to.Memory)}}
	}
	return Steps{Live: change("work_mem"), AtStart: change("shared_buffers"), Restart: e.needsRestart}
}

// tied is an engine that others run.
type tied struct{ *engine }

func (tied) CannotPause() string { return "others run this server" }

// crowd is Occupants without sessions.
type crowd struct {
	mu       sync.Mutex // protects following
	active   time.Time  // zero: never
	anyone   bool
	parkTime time.Duration
	parkErr  error
	parks    int
	lost     []uint64
	evicted  []string
	settled  []acu.Capacity
	woken    []Backend
	wakeErr  error
}

func (o *crowd) Quiet() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.active.IsZero() {
		return math.MaxInt64
	}
	return max(time.Since(o.active), 0)
}

func (o *crowd) Anyone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.anyone
}

func (o *crowd) ParkTogether(ctx context.Context) error { return o.Park(ctx) }

func (o *crowd) Park(ctx context.Context) error {
	o.mu.Lock()
	o.parks++
	d, err := o.parkTime, o.parkErr
	o.mu.Unlock()
	if err := pass(ctx, d); err != nil {
		return &Holdouts{[]Holdout{{"s-1", []string{"active"}}}}
	}
	return err
}

// Evict has those go who hold out.
func (o *crowd) Evict(sessions []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.evicted = append(o.evicted, sessions...)
	o.parkErr = nil
}

func (o *crowd) Waking(_ context.Context, b Backend) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.woken = append(o.woken, b)
	return o.wakeErr
}

func (o *crowd) Resettle(c acu.Capacity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = append(o.settled, c)
}

func (o *crowd) Lost(generation uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost = append(o.lost, generation)
}

func (o *crowd) set(change func(*crowd)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *crowd) touch() { o.set(func(o *crowd) { o.active = time.Now() }) }

// witness writes down what an Observer is told.
type witness struct {
	mu     sync.Mutex // protects following
	lines  []string
	events []string
}

func (w *witness) Resumed(_ string, t Trigger, took time.Duration, err error) {
	w.note("resumed %s %v %v", t, took, err)
}

func (w *witness) Paused(_ string, result string, _ time.Duration) { w.note("paused %s", result) }

func (w *witness) Scaled(_ string, change Change) { w.note("scaled %s %s", change.Mode, change.Result) }

func (w *witness) Happened(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	word := e.ID
	if word == "" {
		word = e.Message
	}
	w.events = append(w.events, word)
}

func (w *witness) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

func (w *witness) take() (lines, events []string) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, events = w.lines, w.events
	w.lines, w.events = nil, nil
	return lines, events
}

// house is a cluster with fakes all around it.
type house struct {
	t *testing.T
	*Cluster
	engine  *engine
	crowd   *crowd
	witness *witness
	config  Config
	ran     chan error
}

const pauseAfter = 5 * time.Minute

// newHouse must be called inside a bubble; adjust may be nil.
func newHouse(t *testing.T, adjust func(*house)) *house {
	t.Helper()
	h := &house{t: t, crowd: &crowd{}, witness: &witness{}}
	h.engine = &engine{t: t, startTime: 100 * time.Millisecond, stopTime: 50 * time.Millisecond}
	h.config = Config{
		Name:     "shop",
		Dir:      t.TempDir(),
		Compute:  h.engine,
		Observer: h.witness,
		Sizer:    func(c acu.Capacity) acu.Size { return acu.MySQL.Size(c, acu.DefaultUnit, 5) },
		Settings: Settings{Min: 2, Max: 16, AutoPause: true, PauseAfter: pauseAfter, ResumeTimeout: 10 * time.Second},
	}
	if adjust != nil {
		adjust(h)
	}
	h.open()
	return h
}

// open makes the Cluster anew from what lies in the directory, and runs it.
func (h *house) open() {
	h.t.Helper()
	var err error
	if h.Cluster, err = New(h.config); err != nil {
		h.t.Fatal(err)
	}
	ran := make(chan error, 1)
	h.ran = ran
	go func(c *Cluster) { ran <- c.Run(context.Background(), h.crowd) }(h.Cluster)
	synctest.Wait()
}

// close stops the Cluster and returns what Run said.
func (h *house) close() error {
	h.t.Helper()
	if err := h.Stop(context.Background()); err != nil {
		h.t.Errorf("Stop = %v", err)
	}
	return <-h.ran
}

func (h *house) wake() Backend {
	h.t.Helper()
	b, err := h.Wake(context.Background(), OnConnect)
	if err != nil {
		h.t.Fatalf("Wake = %v", err)
	}
	h.crowd.touch()
	return b
}

func (h *house) wantState(want State) {
	h.t.Helper()
	synctest.Wait()
	if got := h.Status().State; got != want {
		h.t.Fatalf("state is %s, want %s", got, want)
	}
}

// kill is what a kill -9 of the proxy leaves: the goroutine ends without a
// word, and files and engine stay as they are.
func (h *house) kill() {
	h.t.Helper()
	synctest.Wait()
	h.engine.set(func(e *engine) { e.stopFails = errors.New("killed before") })
	state := readAll(h.t, h.config.Dir)
	h.Stop(context.Background())
	<-h.ran
	h.engine.set(func(e *engine) { e.stopFails = nil })
	writeAll(h.t, h.config.Dir, state)
}
