// Package life decides how a connection lives and ends. It holds the state machine of a connection, its heartbeat
// and timeouts, the clock, and the goroutine that looks at all connections. It knows no socket and calls no user code:
// it is told what happened, and returns what is to be done.
package life

import (
	"strings"
	"sync/atomic"
)

// Phase is how far a connection's life has come. It never goes back.
type Phase uint8

const (
	Opening Phase = iota // OnConnect has not returned yet; nothing is read
	Open                 // messages go to OnMessage
	Broken               // a callback found that the connection ends; what arrives is dropped, and read only for how the peer ended
	Failing              // it is decided why the connection ends; OnError runs, then the close frame is queued
	Closing              // the close frame is queued; what arrives is dropped, except the peer's close frame
	Cut                  // the transport is being closed
	Done                 // the transport has ended, and nothing of the connection runs any more
)

// Call says whether a callback runs.
type Call uint8

const (
	None    Call = iota
	Running      // OnConnect, OnMessage or OnError runs
	Last         // one runs that is to be the last: the close frame follows it
)

// Event is something that happened to a connection.
type Event uint8

const (
	Begin          Event = iota // a callback is about to begin
	Accept                      // OnConnect has returned nil
	Return                      // a callback has returned, and OnError if there was an error
	Fail                        // a callback has returned an error, or panicked
	GiveUp                      // a callback has returned the error of its own connection's end
	Violate                     // the peer broke the protocol or a limit, as the reader found
	Lose                        // the same, and where the next frame begins is no longer known
	Expire                      // the peer broke a limit, as somebody found who may not call OnError
	Close                       // Conn.Close was called
	Drain                       // the server shuts down
	CutOff                      // the server, its user or a timeout ends the connection at once
	Starve                      // the peer is silent or accepts no data: the connection ends at once
	PeerClose                   // the peer's close frame was read
	EndOfStream                 // the peer has ended its sending direction
	ReadFailed                  // nothing can be read any more
	WriteFailed                 // nothing can be written any more
	CloseWritten                // the close frame was written
	Hangup                      // the peer is known to have gone, although nobody has read that far
	Overdue                     // a callback runs, and CloseTimeout has passed
	TransportEnded              // nothing of the connection runs any more
	events
)

// Do is what is to be done after an [Event], a set.
type Do uint16

const (
	Run        Do = 1 << iota // the callback begins
	Decide                    // the event is why the connection ends
	Report                    // call OnError, then Return
	EndContext                // end the connection's context
	Frame                     // queue the close frame
	HalfClose                 // end the sending direction
	Finish                    // close the transport: the peer has said its last, and our close frame was written
	Kill                      // close the transport now
	Abandon                   // close the transport, and have the system give up what it holds for the peer
	CountIn                   // the connection counts as open
	CountOut                  // it does no more
	OnClose                   // call OnClose
)

// Has reports whether d has all of what.
func (d Do) Has(what Do) bool { return d&what == what }

// State is a connection's state in one word.
type State uint16

// Layout of a State: the phase, then the call, then facts.
const (
	phaseBits       = 7
	callShift       = 3
	callBits  State = 3 << callShift
)

const (
	called   State = 1 << (iota + 5) // OnConnect was called
	accepted                         // OnConnect has returned nil
	mute                             // nothing can be written
	lost                             // where the peer's next frame begins is not known
	sent                             // our close frame was written
	received                         // the peer's close frame was read
	ended                            // the peer has ended its sending direction
)

// Phase returns how far the connection's life has come.
func (s State) Phase() Phase { return Phase(s & phaseBits) }

// Call says whether a callback runs.
func (s State) Call() Call { return Call(s & callBits >> callShift) }

// Called reports whether OnConnect was called.
func (s State) Called() bool { return s&called != 0 }

// Accepted reports whether OnConnect has returned nil.
func (s State) Accepted() bool { return s&accepted != 0 }

// Mute reports whether nothing can be written.
func (s State) Mute() bool { return s&mute != 0 }

// Sent reports whether our close frame was written.
func (s State) Sent() bool { return s&sent != 0 }

// Received reports whether the peer's close frame was read.
func (s State) Received() bool { return s&received != 0 }

// IsOpen reports whether the connection counts as open: OnConnect has returned nil, and OnClose has not begun.
func (s State) IsOpen() bool { return s&accepted != 0 && s.Phase() < Done }

// Ends reports whether the connection is ending: it is decided why, or nothing is left to be decided.
func (s State) Ends() bool { return s.Phase() >= Failing }

func (s State) in(p Phase) State  { return s&^phaseBits | State(p) }
func (s State) with(c Call) State { return s&^callBits | State(c)<<callShift }

// Machine is a connection's state. Its zero value is a connection that is opening. Its methods may be called from any
// goroutine.
type Machine struct{ word atomic.Uint32 }

// State returns the present state.
func (m *Machine) State() State { return State(m.word.Load()) }

// Step applies an event, and returns the new state and what is to be done. It is the only writer of the state.
//
// A caller that keeps notes beside the state, such as why the connection ends, calls Step under the lock of these notes,
// and does what is to be done after that. Only Begin, and a Return after which nothing is to be done, need no such lock.
func (m *Machine) Step(e Event) (State, Do) {
	for {
		was := m.word.Load()
		now, do := next(State(was), e)
		if m.word.CompareAndSwap(was, uint32(now)) {
			return now, do
		}
	}
}

// Begin is Step(Begin), and reports whether the callback begins.
func (m *Machine) Begin() bool {
	_, do := m.Step(Begin)
	return do != 0
}

// Leave is Step(Return) if nothing is to be done after it. Else it does nothing and reports false.
func (m *Machine) Leave() bool {
	for {
		was := m.word.Load()
		now, do := next(State(was), Return)
		if do != 0 {
			return false
		}
		if m.word.CompareAndSwap(was, uint32(now)) {
			return true
		}
	}
}

// next is the table: what an event makes of a state, and what is to be done.
func next(s State, e Event) (State, Do) {
	switch e {
	case Begin, Accept, Return:
		return s.called(e)
	case Fail, GiveUp, Violate, Lose, Expire:
		return s.failed(e)
	case Close, Drain, CutOff, Starve:
		return s.ended(e)
	case PeerClose, EndOfStream, ReadFailed:
		return s.peerEnded(e)
	}
	return s.told(e)
}

// called applies what happens around a callback.
func (s State) called(e Event) (State, Do) {
	if e == Begin {
		if s.Phase() > Open || s.Call() != None {
			return s, 0
		}
		return s.with(Running) | called, Run
	}
	var do Do
	if e == Accept {
		do = CountIn
		s |= accepted
		if s.Phase() == Opening {
			s = s.in(Open)
		}
	}
	last := s.Call() == Last
	s = s.with(None)
	switch {
	case s.Phase() == Failing:
		return s.close(do)
	case last && s.Phase() < Failing:
		return s.close(do | Decide)
	}
	return s, do
}

// close queues the close frame, or cuts the connection if nothing can be written.
func (s State) close(do Do) (State, Do) {
	if s&mute != 0 {
		return s.in(Cut), do | Kill | EndContext
	}
	return s.in(Closing), do | Frame
}

// decide is close for an event that is why the connection ends. A callback that runs is then not waited for.
func (s State) decide() (State, Do) {
	if s.Call() == Last {
		s = s.with(Running)
	}
	return s.close(Decide)
}

// failed applies what somebody did wrong.
func (s State) failed(e Event) (State, Do) {
	if e == Lose {
		s |= lost
	}
	ends := s.Phase() >= Broken
	switch {
	case e == GiveUp && !ends:
		return s.in(Broken), 0
	case e == GiveUp:
		return s, 0
	case e == Fail && ends:
		return s, Report // too late to be why the connection ends, but not lost
	case e == Lose && s.Phase() == Closing && s&sent != 0:
		return s, HalfClose
	case e == Expire && s.Phase() == Broken && s&mute == 0: // the callback's error came of that
		return s.decide()
	case ends:
		return s, 0
	case e == Expire, e != Fail && s.Call() != None: // OnError has to wait until the callback has returned
		return s.decide()
	}
	return s.in(Failing).with(Running), Decide | Report
}

// ended applies that somebody on our side ends the connection.
func (s State) ended(e Event) (State, Do) {
	switch {
	case s.Phase() >= Cut:
		return s, 0
	case e == CutOff:
		return s.kill(Kill)
	case e == Starve:
		return s.kill(Abandon)
	case s.Ends():
		return s, 0
	case e == Drain && s.Call() != None:
		return s.with(Last), 0
	}
	return s.decide()
}

// kill closes the transport.
func (s State) kill(do Do) (State, Do) {
	if !s.Ends() {
		do |= Decide
	}
	if s.Call() == Last {
		s = s.with(Running)
	}
	return s.in(Cut), do | EndContext
}

// peerEnded applies what ends the peer's direction.
func (s State) peerEnded(e Event) (State, Do) {
	switch {
	case s.Phase() >= Cut:
		if e == PeerClose && s.Phase() == Cut {
			s |= received
		}
		return s, 0
	case e == EndOfStream && s.Phase() == Closing && s&(sent|mute) == 0:
		return s | ended, EndContext // the peer may still read our close frame
	case e != PeerClose:
		return s.kill(Kill)
	}
	s |= received
	switch {
	case s.Phase() == Failing:
		return s, EndContext
	case s.Phase() == Closing && s&sent != 0:
		return s.in(Cut), Finish | EndContext
	case s.Phase() == Closing && s&mute != 0:
		return s.kill(Kill)
	case s.Phase() == Closing:
		return s, EndContext
	}
	s, do := s.decide()
	return s, do | EndContext
}

// told applies what the transport and the sweep tell.
func (s State) told(e Event) (State, Do) {
	if s.Phase() == Done {
		return s, 0
	}
	switch e {
	case WriteFailed:
		s |= mute
		if s.Phase() == Closing && s&(received|ended) != 0 {
			return s.kill(Kill)
		}
	case CloseWritten:
		s |= sent
		switch {
		case s.Phase() == Closing && s&(received|ended) != 0:
			return s.in(Cut), Finish | EndContext
		case s.Phase() == Closing && s&lost != 0:
			return s, HalfClose
		}
	case Hangup, Overdue:
		return s, EndContext
	case TransportEnded:
		do := EndContext
		if !s.Ends() {
			do |= Decide
		}
		if s.IsOpen() {
			do |= CountOut
		}
		if s.Called() {
			do |= OnClose
		}
		return s.in(Done).with(None), do
	}
	return s, 0
}

var (
	phaseNames = [...]string{"opening", "open", "broken", "failing", "closing", "cut", "done"}
	callNames  = [...]string{"none", "running", "last"}
	eventNames = [...]string{"Begin", "Accept", "Return", "Fail", "GiveUp", "Violate", "Lose", "Expire", "Close", "Drain", "CutOff", "Starve",
		"PeerClose", "EndOfStream", "ReadFailed", "WriteFailed", "CloseWritten", "Hangup", "Overdue", "TransportEnded"}
	doNames = [...]string{"run", "decide", "report", "end context", "frame", "half-close", "finish", "kill", "abandon", "count in", "count out", "OnClose"}
)

func (p Phase) String() string { return phaseNames[p] }
func (c Call) String() string  { return callNames[c] }
func (e Event) String() string { return eventNames[e] }

// String returns the state as "phase/call", and the facts that are known.
func (s State) String() string {
	text := s.Phase().String() + "/" + s.Call().String()
	for i, name := range [...]string{"called", "accepted", "mute", "lost", "sent", "received", "ended"} {
		if s&(called<<i) != 0 {
			text += " " + name
		}
	}
	return text
}

func (d Do) String() string {
	var names []string
	for i, name := range doNames {
		if d&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
