package link_test

// The owner of a link in tests. It follows a connection's machine, as the root package does.

import (
	"io"
	"sync"
	"testing"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
)

// owner tells the machine of a connection the events of its link, and obeys the machine.
type owner struct {
	*link.Conn
	t       testing.TB
	traffic link.Traffic
	life    life.Machine

	// Callbacks of a test, set before the link starts. A nil one is not called.
	message func(link.Message)
	broke   func(*link.Violation)
	closed  func(*link.PeerClose)
	slow    func(error)

	ended bool          // the transport's error was told; owned by Turn
	done  chan struct{} // closed by Done

	// Guarded by mu. life also changes only under mu.
	mu   sync.Mutex
	end  *link.CloseFrame // the close frame of the event that decided why the connection ends; a code of 0 stands for none
	told string           // which of CloseWritten and WriteFailed was called
	over bool             // Done was called
}

// newOwner returns an owner whose connection is open.
func newOwner(t testing.TB) *owner {
	o := &owner{t: t, done: make(chan struct{})}
	o.life.Step(life.Begin)
	o.life.Step(life.Accept)
	return o
}

// apply tells the machine of an event. f is the close frame if the event decides why the connection ends.
func (o *owner) apply(e life.Event, f link.CloseFrame) life.Do {
	o.mu.Lock()
	_, do := o.life.Step(e)
	if do.Has(life.Decide) {
		o.end = &f
	}
	if o.end != nil {
		f = *o.end
	}
	o.mu.Unlock()
	switch {
	case do.Has(life.Frame):
		if !o.Conn.Close(f) {
			o.apply(life.CutOff, link.CloseFrame{})
		}
	case do.Has(life.HalfClose):
		o.Conn.CloseWrite()
	case do.Has(life.Finish):
		o.Conn.Finish()
	case do.Has(life.Kill):
		o.Conn.Cut()
	case do.Has(life.Abandon):
		o.Conn.Abandon(0)
	}
	return do
}

// Close starts to close the connection, and reports false if it was ending already.
func (o *owner) Close(f link.CloseFrame) bool { return o.apply(life.Close, f).Has(life.Decide) }

// Cut ends the connection at once.
func (o *owner) Cut() { o.apply(life.CutOff, link.CloseFrame{}) }

// violate ends the connection for a violation.
func (o *owner) violate(e life.Event, f link.CloseFrame) {
	if o.apply(e, f).Has(life.Report) {
		o.leave()
	}
}

// leave says that a callback has returned.
func (o *owner) leave() {
	if !o.life.Leave() {
		o.apply(life.Return, link.CloseFrame{Code: 1001})
	}
}

// code returns the close code that the connection ends with, 0 for none.
func (o *owner) code() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end == nil {
		return 0
	}
	return o.end.Code
}

// Turn handles the bytes that have arrived.
func (o *owner) Turn() bool {
	for {
		var m link.Message
		var err error
		if o.life.State().Phase() == life.Open {
			m, err = o.Next()
		} else {
			err = o.Discard()
		}
		switch e := err.(type) {
		case nil:
			o.receive(m)
		case *link.PeerClose:
			if o.closed != nil {
				o.closed(e)
			}
			o.apply(life.PeerClose, link.CloseFrame{Code: e.Code})
		case *link.Violation:
			o.broken(e)
		default:
			if err == link.ErrAgain {
				return true
			}
			if o.ended {
				o.t.Errorf("the transport's error is told again: %v", err)
			}
			o.ended = true
			event := life.ReadFailed
			if err == io.EOF {
				event = life.EndOfStream
			}
			o.apply(event, link.CloseFrame{})
			return o.life.State().Phase() < life.Cut
		}
	}
}

func (o *owner) receive(m link.Message) {
	if !o.life.Begin() {
		return
	}
	if o.message != nil {
		o.message(m)
	}
	o.leave()
}

func (o *owner) broken(v *link.Violation) {
	if o.broke != nil {
		o.broke(v)
	}
	e := life.Violate
	if v.Lost {
		e = life.Lose
	}
	o.violate(e, link.CloseFrame{Code: v.Code, Reason: v.Reason, DropStalled: true})
	if v.Closes {
		o.apply(life.PeerClose, link.CloseFrame{})
	}
}

func (o *owner) Hangup(error) {}

// Slow ends a connection that is behind on published messages.
func (o *owner) Slow(err error) {
	if o.slow != nil {
		o.slow(err)
	}
	o.violate(life.Expire, link.CloseFrame{Code: 1013, DropStalled: true, DropSources: true})
}

func (o *owner) CloseWritten() { o.tell("CloseWritten", life.CloseWritten) }
func (o *owner) WriteFailed()  { o.tell("WriteFailed", life.WriteFailed) }

// tell is told how the writing has ended: once, before Done, and with the sending half free.
func (o *owner) tell(what string, e life.Event) {
	o.Undelivered() // hangs if the caller has locked the sending half
	o.mu.Lock()
	if o.told != "" || o.over {
		o.t.Errorf("%s is called after %q, and after Done: %v; want one of them, once, before Done", what, o.told, o.over)
	}
	o.told = what
	o.mu.Unlock()
	if o.Stamps.Closed.Get() == 0 {
		o.t.Errorf("%s is called before Stamps.Closed is set", what)
	}
	o.apply(e, link.CloseFrame{})
}

// wasTold returns which of CloseWritten and WriteFailed was called.
func (o *owner) wasTold() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told
}

func (o *owner) Done() {
	o.mu.Lock()
	again := o.over
	o.over = true
	o.mu.Unlock()
	if again {
		o.t.Error("Done is called twice, want once")
		return
	}
	o.apply(life.TransportEnded, link.CloseFrame{})
	close(o.done)
}

var _ link.Owner = (*owner)(nil)
