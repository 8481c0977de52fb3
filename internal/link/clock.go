package link

// Time as cheap as an atomic load, for what happens with each message.

import (
	"sync/atomic"
	"time"
)

// Clock tells the time of its last Tick. Its zero value is ready.
type Clock struct {
	start atomic.Pointer[time.Time]
	now   atomic.Int64
}

// Tick moves the clock to the present and returns it.
func (c *Clock) Tick() time.Duration {
	start := c.start.Load()
	if start == nil {
		now := time.Now()
		c.start.CompareAndSwap(nil, &now)
		start = c.start.Load()
	}
	// Never 0, which stands for "not yet" in a Stamp.
	now := time.Since(*start) + 1
	for {
		last := c.now.Load()
		if last >= int64(now) {
			return time.Duration(last) // another Tick was later
		}
		if c.now.CompareAndSwap(last, int64(now)) {
			return now
		}
	}
}

// Now returns the time of the last Tick, counted from the first.
func (c *Clock) Now() time.Duration { return time.Duration(c.now.Load()) }

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
