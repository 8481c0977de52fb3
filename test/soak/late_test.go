package soak_test

// How late the process was: an event that is late then need not be the server's fault.

import (
	"sync"
	"time"
)

// lateness records when goroutines of the process ran late, and by how much.
type lateness struct {
	mu   sync.Mutex
	list []late // in the order of time
}

type late struct {
	at time.Time // when the goroutine ran at last
	by time.Duration
}

// watch records lateness until done.
func (l *lateness) watch(done chan struct{}) {
	const tick = 5 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		now := time.Now()
		by := now.Sub(last) - tick
		last = now
		if by > tick {
			l.mu.Lock()
			l.list = append(l.list, late{now, by})
			l.mu.Unlock()
		}
	}
}

// most returns how late goroutines were at most between two times.
func (l *lateness) most(from, to time.Time) (most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, late := range l.list {
		if late.at.After(from) && late.at.Add(-late.by).Before(to) {
			most = max(most, late.by)
		}
	}
	return most
}
