package poll

// The goroutines that a socket has besides its serving one.

import "sync"

// group is a WaitGroup that may be added to while it is waited for: too late is refused.
type group struct {
	mu    sync.Mutex
	ended bool
	wg    sync.WaitGroup
}

// start runs f on a goroutine of its own, which wait waits for. After wait it only reports false.
func (g *group) start(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.wg.Go(f)
	}
	return !g.ended
}

func (g *group) wait() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.wg.Wait()
}
