//go:build !race

package fanout_test

// Allocations a message. Under the race detector pools drop objects on purpose, so these tests run without it.

import (
	"sync/atomic"
	"testing"

	"example.com/hail/internal/fanout"
)

func TestAllocationsAMessage(t *testing.T) {
	const subscribers = 100
	h := fanout.New(fanout.Config{MaxBytes: 1 << 20})
	defer h.Close()
	var left atomic.Int32
	done := make(chan struct{})
	for range subscribers {
		h.Subscribe("room", 0, false, waker(func(c *fanout.Cursor) {
			for p, _ := c.Peek(h.Order()); p != nil; p, _ = c.Peek(h.Order()) {
				c.Skip(len(p))
			}
			if left.Add(-1) == 0 {
				done <- struct{}{}
			}
		}))
	}
	publishOnce := func() {
		left.Store(subscribers)
		h.Publish("room", text, message, 0)
		<-done
	}
	publishOnce() // fills the pools
	// A garbage collection may empty a pool, so the least of some runs counts.
	got := testing.AllocsPerRun(200, publishOnce)
	for range 4 {
		got = min(got, testing.AllocsPerRun(200, publishOnce))
	}
	if got > 2 {
		t.Errorf("got %v allocations for a message to %d subscribers, want 2: a chunk and a worker", got, subscribers)
	}
}
