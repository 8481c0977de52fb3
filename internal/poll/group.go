package poll

// Goroutines that somebody waits for.

import "sync"

// group counts goroutines. Unlike a sync.WaitGroup it may be added to while somebody waits for it, and it can be closed.
type group struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  chan struct{} // closed by the last to leave, nil if nobody waits
}

// join counts one more goroutine. It reports false, and does not count it, if the group is closed.
func (g *group) join() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

// leave undoes join.
func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// start runs f on a goroutine of its own, which wait waits for. It reports false if the group is closed.
func (g *group) start(f func()) bool {
	if !g.join() {
		return false
	}
	go func() {
		defer g.leave() // also if f ends the goroutine
		f()
	}()
	return true
}

// close lets nobody join any more.
func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// wait waits until the group is empty.
func (g *group) wait() {
	g.mu.Lock()
	for g.n > 0 {
		if g.empty == nil {
			g.empty = make(chan struct{})
		}
		empty := g.empty
		g.mu.Unlock()
		<-empty
		g.mu.Lock()
	}
	g.mu.Unlock()
}
