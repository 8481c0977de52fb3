package hailtest

// The gate: it lets a peer stop reading its transport, or read it slowly, exact to the byte.

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate is the client's end of a transport whose reads obey a pace. It sits below TLS, so a stalled
// peer's socket really fills.
type gate struct {
	net.Conn
	cond *sync.Cond // on mu; signals every change of the fields below

	// Guarded by mu.
	mu     sync.Mutex
	pace   pace
	busy   bool // a Read of Conn is under way
	kicks  int  // calls of set that want that Read to end; no other begins while there are any
	closed bool
}

// pace says how a gate reads. The zero value reads freely.
type pace struct {
	stalled bool
	bytes   int           // at most this many ...
	every   time.Duration // ... per interval
}

func newGate(conn net.Conn) *gate {
	g := &gate{Conn: conn}
	g.cond = sync.NewCond(&g.mu)
	return g
}

func (g *gate) Read(b []byte) (int, error) {
	for {
		limit := g.enter(len(b))
		n, err := g.Conn.Read(b[:limit])
		if g.leave() && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		return n, err
	}
}

// enter waits until the pace allows a read, and returns the number of bytes to read, at most n. A closed
// gate allows all reads: they get Conn's error.
func (g *gate) enter(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		p := g.pace
		switch {
		case g.closed:
		case p.stalled, g.kicks > 0:
			g.cond.Wait()
			continue
		case p != pace{}:
			if !g.waitLocked(p) {
				continue
			}
			n = min(n, p.bytes)
		}
		g.busy = true
		return n
	}
}

// waitLocked waits until it is time for p's next read. It reports false if the pace changes before.
func (g *gate) waitLocked(p pace) bool {
	due := false
	timer := time.AfterFunc(p.every, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		due = true
		g.cond.Broadcast()
	})
	defer timer.Stop()
	for !due && g.pace == p && !g.closed {
		g.cond.Wait()
	}
	return due && g.pace == p
}

// leave reports whether set has ended the read.
func (g *gate) leave() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	g.cond.Broadcast()
	return g.kicks > 0
}

// set changes the pace. When it returns, no read at the old pace is under way.
func (g *gate) set(p pace) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace = p
	g.cond.Broadcast()
	if !g.busy || p == (pace{}) {
		return
	}
	g.kicks++
	g.Conn.SetReadDeadline(time.Unix(1, 0))
	for g.busy {
		g.cond.Wait()
	}
	if g.kicks--; g.kicks > 0 {
		return
	}
	g.Conn.SetReadDeadline(time.Time{})
	g.cond.Broadcast()
}

func (g *gate) Close() error {
	// In this order: a read that closed lets pass finds Conn closed.
	err := g.Conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.cond.Broadcast()
	return err
}
