package life_test

// Who may tell a connection's machine of which event, and when.

import (
	"slices"

	"example.com/hail/internal/life"
)

// callback is the user code that runs in the callbacks' goroutine, which is the reader's too.
type callback uint8

const (
	idle       callback = iota // none runs: what arrives is read
	connecting                 // OnConnect
	handling                   // OnMessage
	failed                     // one has failed, or OnError runs: only its return follows
)

// cast is what those who tell a machine of events know by themselves. Its zero value is a connection that was just made.
type cast struct {
	call    callback
	begun   bool // OnConnect was to be called
	called  bool // it was: the user has the connection
	hears   bool // the reader looks for messages: OnConnect has returned nil, and nothing has ended that
	closed  bool // the reader has read the peer's close frame
	lost    bool // the reader does not know where the next frame begins
	ended   bool // the reader can read nothing more
	queued  bool // the close frame was queued
	written bool // the writer has told how writing ended: one of CloseWritten, WriteFailed
	over    bool // the transport has ended
}

// may reports whether somebody may tell a machine in state s of e.
func (c cast) may(s life.State, e life.Event) bool {
	// The reader starts when OnConnect has returned, or is not called because the connection ends already.
	reads := c.call == idle && (c.begun || s.Ends()) && !c.over
	switch e {
	case life.Begin:
		return c.call == idle && !c.over && (!c.begun || c.hears)
	case life.Accept:
		return c.call == connecting
	case life.Return:
		return c.call == handling || c.call == failed
	case life.Fail, life.GiveUp:
		return c.call == connecting || c.call == handling
	case life.Violate, life.Lose, life.PeerClose:
		return reads && !c.ended && !c.closed && !c.lost
	case life.EndOfStream, life.ReadFailed:
		return reads && !c.ended
	case life.TransportEnded:
		return reads
	case life.Close, life.Expire:
		return c.called // by the user; by a topic, or the sweep
	case life.Overdue:
		return s.Ends() // as the sweep has seen it before
	case life.WriteFailed:
		return !c.written
	case life.CloseWritten:
		return c.queued && !c.written
	}
	return true // the server and the sweep have a connection from its beginning until after its end; so may Hangup
}

// told returns the cast after an event for which do is to be done.
func (c cast) told(e life.Event, do life.Do) cast {
	c.queued = c.queued || do.Has(life.Frame)
	switch e {
	case life.Begin:
		if do.Has(life.Run) {
			c.call = handling
			if !c.called {
				c.call = connecting
			}
		}
		c.begun, c.called = true, c.called || do.Has(life.Run)
	case life.Accept:
		c.call, c.hears = idle, true
	case life.Return:
		c.call = idle
	case life.Fail, life.GiveUp:
		c.call, c.hears = failed, false
	case life.Violate, life.Lose:
		c.hears, c.lost = false, c.lost || e == life.Lose
		if do.Has(life.Report) {
			c.call = failed
		}
	case life.PeerClose:
		c.hears, c.closed = false, true
	case life.EndOfStream, life.ReadFailed:
		c.hears, c.ended = false, true
	case life.CloseWritten, life.WriteFailed:
		c.written = true
	case life.TransportEnded:
		c.over = true
	}
	return c
}

// moment is a machine's state, and what those know who tell it of events.
type moment struct {
	state life.State
	cast  cast
}

// step is what can happen at a moment.
type step struct {
	from life.State
	e    life.Event
}

// reachable searches all orders of events from a connection's beginning, and returns what can happen, and how: the events of the
// shortest way there.
func reachable() map[step][]life.Event {
	ways := map[moment][]life.Event{{}: nil}
	steps := map[step][]life.Event{}
	for todo := []moment{{}}; len(todo) > 0; todo = todo[1:] {
		m := todo[0]
		for e := range life.Events {
			if !m.cast.may(m.state, e) {
				continue
			}
			if _, ok := steps[step{m.state, e}]; !ok {
				steps[step{m.state, e}] = ways[m]
			}
			state, do := life.Next(m.state, e)
			next := moment{state, m.cast.told(e, do)}
			if _, ok := ways[next]; !ok {
				ways[next] = append(slices.Clip(ways[m]), e)
				todo = append(todo, next)
			}
		}
	}
	return steps
}
