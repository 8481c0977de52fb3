package life_test

// The clock, beside the time that has really passed.

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
)

// TestClockIsNeverAhead has a clock tick late now and then: what lies between an event and a later tick, by the clock
// and less one tick, is never more than what it was.
func TestClockIsNeverAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const tick = 100 * time.Millisecond
		type event struct {
			at   time.Time
			read time.Duration
		}
		var clock life.Clock
		var events []event
		for i := range 200 {
			wait := tick
			switch i % 7 {
			case 3:
				wait = 40 * tick
			case 5:
				wait = tick / 3
			}
			for range 4 {
				time.Sleep(wait / 4)
				events = append(events, event{time.Now(), clock.Now()})
			}
			now := clock.Tick(tick)
			for _, e := range events {
				if by, was := now-e.read-tick, time.Since(e.at); by > was {
					t.Fatalf("tick %d: %v have passed by the clock, less a tick, %v in truth", i, by, was)
				}
			}
			if got := clock.Now(); got != now {
				t.Fatalf("tick %d: Now is %v, the tick was %v", i, got, now)
			}
		}
		before := clock.Now()
		for range 50 {
			time.Sleep(tick)
			clock.Tick(tick)
		}
		if got := clock.Now() - before; got != 50*tick {
			t.Errorf("with 50 ticks in time: %v have passed, want %v", got, 50*tick)
		}
	})
}

// TestClockStartsAtOnce has a clock tell a time before its first tick: 0 would stand for "not yet".
func TestClockStartsAtOnce(t *testing.T) {
	t.Parallel()
	var clock life.Clock
	if got := clock.Now(); got <= 0 {
		t.Errorf("Now before the first tick: got %v, want more than 0", got)
	}
	if got := clock.Real(); got <= 0 {
		t.Errorf("Real: got %v, want more than 0", got)
	}
}

// TestClockStandsStill has time pass without a tick, and a tick that comes late: only a step of that time counts, and the rest does
// not count later either.
func TestClockStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const step = time.Second
		var clock life.Clock
		began := clock.Real()
		begin := clock.Tick(step)
		time.Sleep(time.Hour)
		if got := clock.Now(); got != begin {
			t.Errorf("an hour after a tick: got Now %v, want %v", got, begin)
		}
		if got, want := clock.Real()-began, time.Hour; got != want {
			t.Errorf("an hour after a tick: got Real %v later, want %v", got, want)
		}
		if got, want := clock.Tick(step)-begin, step; got != want {
			t.Errorf("a tick an hour late: got %v passed, want %v", got, want)
		}
		time.Sleep(step / 2)
		if got, want := clock.Tick(step)-begin, step+step/2; got != want {
			t.Errorf("half a step later: got %v passed, want %v", got, want)
		}
		if got, want := clock.Real()-began, time.Hour+step/2; got != want {
			t.Errorf("half a step later: got Real %v later, want %v", got, want)
		}
	})
}

// TestClockAmongGoroutines has many goroutines ask while one ticks: no time is before another that was read earlier.
func TestClockAmongGoroutines(t *testing.T) {
	t.Parallel()
	var clock life.Clock
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() { // ends with done; waited for below
			for before, real := clock.Now(), clock.Real(); ; {
				select {
				case <-done:
					return
				default:
				}
				now, present := clock.Now(), clock.Real()
				if now < before || present < real {
					t.Errorf("got %v after %v, and %v after %v, want time to go on", now, before, present, real)
					return
				}
				if now > present {
					t.Errorf("got Now %v, Real %v, want no time ahead of the real one", now, present)
					return
				}
				before, real = now, present
			}
		})
	}
	for range 10_000 {
		clock.Tick(time.Millisecond)
	}
	close(done)
	readers.Wait()
}
