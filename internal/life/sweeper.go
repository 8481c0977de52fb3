package life

// The goroutine that looks at all connections now and then.

import (
	"sync"
	"time"
)

const (
	slowestSweep = 500 * time.Millisecond
	fastestSweep = 5 * time.Millisecond
	// A timeout is found late by up to two sweeps, each this part of the shortest.
	sweepPart = 8
)

// Tick returns the time between two sweeps for the timeouts that are on.
func Tick(timeouts ...time.Duration) time.Duration {
	tick := slowestSweep
	for _, t := range timeouts {
		if t > 0 {
			tick = min(tick, t/sweepPart)
		}
	}
	return max(tick, fastestSweep)
}

// Sweeper is the goroutine that a server has while it has connections. Its zero value is ready.
type Sweeper struct {
	mu    sync.Mutex
	users int
	stop  chan struct{} // of the newest loop
	done  chan struct{}
}

// Join is called for each connection. The first starts a goroutine that calls sweep each tick. It ends when the last
// has left; Halt waits for it.
func (w *Sweeper) Join(tick time.Duration, sweep func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users++
	if w.users > 1 {
		return
	}
	before, stop, done := w.done, make(chan struct{}), make(chan struct{})
	w.stop, w.done = stop, done
	go func() {
		defer close(done)
		if before != nil {
			<-before // never two loops at once
		}
		loop(tick, sweep, stop)
	}()
}

func loop(tick time.Duration, sweep func(), stop <-chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			sweep()
		}
	}
}

// Leave is called once for each Join.
func (w *Sweeper) Leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users--
	if w.users == 0 {
		close(w.stop)
	}
}

// Halt waits for the goroutine if it is ending.
func (w *Sweeper) Halt() {
	w.mu.Lock()
	done := w.done
	if w.users > 0 {
		done = nil
	}
	w.mu.Unlock()
	if done != nil {
		<-done
	}
}
