package poll

// Goroutines that somebody waits for.

import "sync"

// group is the goroutines that a socket has besides its serving one: a WaitGroup that may be added to while it is
// waited for. Too late is refused.
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

// crew counts goroutines. It may be added to while it is waited for.
type crew struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed by the last to leave; nil: nobody waits
}

func (c *crew) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// wait waits until nobody is there.
func (c *crew) wait() {
	c.mu.Lock()
	for c.n > 0 {
		if c.empty == nil {
			c.empty = make(chan struct{})
		}
		empty := c.empty
		c.mu.Unlock()
		<-empty
		c.mu.Lock()
	}
	c.mu.Unlock()
}
