package life

// How fast things happen: closes while a server drains, and messages of a peer.

import (
	"context"
	"time"
)

const (
	drainStep   = 10 * time.Millisecond
	drainRate   = 1000 // calls a second
	drainBudget = 0.75 // of the time that ctx leaves
)

// Pace calls do for each item, 1,000 a second, or faster if that is necessary for the last call by three quarters of
// ctx's time. It returns early when ctx ends.
func Pace[T any](ctx context.Context, items []T, do func(T)) {
	each := time.Second / drainRate
	if deadline, ok := ctx.Deadline(); ok {
		budget := time.Duration(drainBudget * float64(time.Until(deadline)))
		each = min(each, budget/time.Duration(max(len(items), 1)))
	}
	start := time.Now()
	ticker := time.NewTicker(drainStep)
	defer ticker.Stop()
	for done := 0; ; {
		due := len(items)
		if each > 0 {
			due = min(due, int((time.Since(start)+drainStep)/each))
		}
		for ; done < due; done++ {
			do(items[done])
		}
		if done == len(items) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Bucket is a token bucket. It belongs to one goroutine at a time.
type Bucket struct {
	spent float64 // tokens
	at    time.Duration
}

// Take takes one of burst tokens, of which rate a second come back, and reports whether there was one.
func (b *Bucket) Take(now time.Duration, rate float64, burst int) bool {
	b.spent = max(0, b.spent-rate*(now-b.at).Seconds())
	b.at = now
	if b.spent+1 > float64(burst) {
		return false
	}
	b.spent++
	return true
}
