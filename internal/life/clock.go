package life

// Time as cheap as an atomic load, for what happens with each message.

import (
	"sync/atomic"
	"time"
)

// Clock tells the time of its last Tick. It stands still between two ticks. It advances by at most one step a tick: if the
// process had no time to tick, it had no time to read and write either, and that time counts for no timeout.
// Its zero value is ready.
type Clock struct {
	start  atomic.Pointer[time.Time]
	now    atomic.Int64
	passed time.Duration // time that does not count; owned by who ticks
}

// Tick advances the clock to the present, by at most step, and returns its time. One goroutine at a time ticks.
func (c *Clock) Tick(step time.Duration) time.Duration {
	real := c.Real()
	now := min(real-c.passed, c.Now()+step)
	c.passed = real - now
	c.now.Store(int64(now))
	return now
}

// Now returns the time of the last Tick.
func (c *Clock) Now() time.Duration { return time.Duration(max(c.now.Load(), 1)) }

// Real returns the time since its first call, all of it. It is never 0, which stands for "not yet" in a stamp.
func (c *Clock) Real() time.Duration {
	start := c.start.Load()
	if start == nil {
		now := time.Now()
		c.start.CompareAndSwap(nil, &now)
		start = c.start.Load()
	}
	return time.Since(*start) + 1
}
