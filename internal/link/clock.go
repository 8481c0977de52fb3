package link

// Time as cheap as an atomic load, for what happens with each message.

import (
	"sync/atomic"
	"time"
)

// Clock tells the time of its last Tick. It stands still between two, and passes over what is too long between them: in
// a process that had no time to tick, nobody had the time to do what is waited for either. Its zero value is ready.
type Clock struct {
	start atomic.Pointer[time.Time]
	now   atomic.Int64
	step  atomic.Int64  // the most of the last Tick
	lost  time.Duration // what was passed over; owned by who ticks
}

// Tick moves the clock to the present, but by at most most, and returns its time. One goroutine at a time ticks.
func (c *Clock) Tick(most time.Duration) time.Duration {
	real := c.Real()
	now := min(real-c.lost, c.Now()+most)
	c.lost = real - now
	c.step.Store(int64(most))
	c.now.Store(int64(now))
	return now
}

// Now returns the time of the last Tick.
func (c *Clock) Now() time.Duration { return time.Duration(max(c.now.Load(), 1)) }

// Step returns how much later than it was something may have been noted by a Tick.
func (c *Clock) Step() time.Duration { return time.Duration(c.step.Load()) }

// Real returns the time since its first call, with nothing passed over. It is never 0, which stands for "not yet" in
// a Stamp.
func (c *Clock) Real() time.Duration {
	start := c.start.Load()
	if start == nil {
		now := time.Now()
		c.start.CompareAndSwap(nil, &now)
		start = c.start.Load()
	}
	return time.Since(*start) + 1
}

// Stamp is a moment of a [Clock], 0 for none.
type Stamp struct{ t atomic.Int64 }

// Set puts the stamp at now.
func (s *Stamp) Set(now time.Duration) { s.t.Store(int64(now)) }

// Clear takes the stamp off.
func (s *Stamp) Clear() {
	if s.t.Load() != 0 {
		s.t.Store(0)
	}
}

// Get returns the moment, 0 for none.
func (s *Stamp) Get() time.Duration { return time.Duration(s.t.Load()) }

// Move sets the stamp to now unless it has changed since it was read.
func (s *Stamp) Move(read, now time.Duration) { s.t.CompareAndSwap(int64(read), int64(now)) }

// Start sets the stamp unless it is set already.
func (s *Stamp) Start(now time.Duration) { s.t.CompareAndSwap(0, int64(now)) }
