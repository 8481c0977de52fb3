package life_test

// The goroutine that looks at all connections: when it runs, and when it does not.

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
)

func TestTick(t *testing.T) {
	t.Parallel()
	const slowest, fastest = 500 * time.Millisecond, 5 * time.Millisecond
	for name, tc := range map[string]struct {
		timeouts []time.Duration
		want     time.Duration
	}{
		"no timeout":                    {nil, slowest},
		"all are off":                   {[]time.Duration{0, -1}, slowest},
		"long ones":                     {[]time.Duration{time.Hour, 10 * time.Second}, slowest},
		"an eighth of the shortest":     {[]time.Duration{-1, time.Hour, 2 * time.Second, time.Minute}, 250 * time.Millisecond},
		"the shortest comes last":       {[]time.Duration{time.Hour, 800 * time.Millisecond}, 100 * time.Millisecond},
		"so short that it would be hot": {[]time.Duration{time.Nanosecond}, fastest},
	} {
		if got := life.Tick(tc.timeouts...); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// sweeps counts sweeps, and complains about two at once.
type sweeps struct {
	t    *testing.T
	busy atomic.Bool
	n    atomic.Int64
}

func (s *sweeps) sweep() {
	if !s.busy.CompareAndSwap(false, true) {
		s.t.Error("a sweep began while another ran")
	}
	s.n.Add(1)
	runtime.Gosched()
	s.busy.Store(false)
}

// in returns how many sweeps there are in a time.
func (s *sweeps) in(d time.Duration) int64 {
	synctest.Wait()
	before := s.n.Load()
	time.Sleep(d)
	synctest.Wait()
	return s.n.Load() - before
}

// TestSweeperRunsWhileThereAreConnections has connections come and go. The goroutine is the same for all of them.
func TestSweeperRunsWhileThereAreConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, other := &sweeps{t: t}, &sweeps{t: t}
		var w life.Sweeper
		if got := s.in(10 * tick); got != 0 {
			t.Errorf("before the first connection: got %d sweeps, want none", got)
		}
		for range 3 { // from none to none
			w.Join(tick, s.sweep)
			if got := s.in(tick - 1); got != 0 {
				t.Errorf("in less than a tick: got %d sweeps, want none", got)
			}
			if got := s.in(10 * tick); got != 10 {
				t.Errorf("with one connection: got %d sweeps in 10 ticks, want 10", got)
			}
			w.Join(tick/10, other.sweep) // whose sweep is the same
			w.Join(tick, s.sweep)
			if got := s.in(10 * tick); got != 10 {
				t.Errorf("with three connections: got %d sweeps in 10 ticks, want 10", got)
			}
			w.Leave()
			w.Leave()
			if got := s.in(10 * tick); got != 10 {
				t.Errorf("when two have left: got %d sweeps in 10 ticks, want 10", got)
			}
			w.Leave()
			if got := s.in(10 * tick); got != 0 {
				t.Errorf("when the last has left: got %d sweeps, want none", got)
			}
		}
		w.Halt()
		if got := other.n.Load(); got != 0 {
			t.Errorf("got %d sweeps of a connection that was not the first, want none", got)
		}
	}) // which fails if a goroutine is left
}

// TestHaltWaits has a sweep take long: who halts waits for it, and for nothing else.
func TestHaltWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w life.Sweeper
		w.Halt() // nothing ever ran
		begun, release := make(chan struct{}), make(chan struct{})
		w.Join(tick, func() { begun <- struct{}{}; <-release })
		<-begun
		w.Halt() // it is not ending: a connection is left
		w.Leave()
		halted := make(chan struct{})
		go func() { defer close(halted); w.Halt() }() // ends with the sweep; waited for below
		synctest.Wait()
		select {
		case <-halted:
			t.Error("Halt returned while a sweep ran")
		default:
		}
		release <- struct{}{}
		synctest.Wait()
		select {
		case <-halted:
		default:
			t.Error("Halt waits, although the goroutine has ended")
		}
		w.Halt() // again
	})
}

// TestNeverTwoLoops has the last connection leave and another come while a sweep runs: the next loop begins after that sweep.
func TestNeverTwoLoops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w life.Sweeper
		begun, release := make(chan struct{}), make(chan struct{})
		w.Join(tick, func() {
			select {
			case begun <- struct{}{}:
				<-release
			case <-release: // a sweep that was due when it was to stop
			}
		})
		<-begun
		s := &sweeps{t: t}
		for range 3 { // loops that wait for each other
			w.Leave()
			w.Join(tick, s.sweep)
		}
		if got := s.in(10 * tick); got != 0 {
			t.Errorf("while an old sweep runs: got %d new ones, want none", got)
		}
		close(release)
		if got := s.in(10 * tick); got != 10 {
			t.Errorf("after it: got %d sweeps in 10 ticks, want 10", got)
		}
		w.Leave()
		w.Halt()
		if got := s.in(10 * tick); got != 0 {
			t.Errorf("after Halt: got %d sweeps, want none", got)
		}
	})
}

// TestSweeperAmongGoroutines has connections come and go on many goroutines.
func TestSweeperAmongGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sweeps{t: t}
		var w life.Sweeper
		var conns sync.WaitGroup
		for i := range uint64(8) {
			conns.Go(func() { // ends after its connections; waited for below
				r := rand.New(rand.NewPCG(1, i))
				for range 100 {
					w.Join(tick, s.sweep)
					time.Sleep(time.Duration(r.Int64N(int64(3 * tick))))
					w.Leave()
					if r.IntN(4) == 0 {
						w.Halt()
						time.Sleep(time.Duration(r.Int64N(int64(30 * tick))))
					}
				}
			})
		}
		conns.Wait()
		w.Halt()
		if got := s.in(10 * tick); got != 0 {
			t.Errorf("after Halt: got %d sweeps, want none", got)
		}
		if s.n.Load() == 0 {
			t.Error("got no sweep at all")
		}
	})
}
