package link_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/link"
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
		var clock link.Clock
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
