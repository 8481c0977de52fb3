package life_test

// What a connection is promised, without phases: a model that foretells what is to be done, and a ledger of what was.

import (
	"fmt"

	"example.com/hail/internal/life"
)

// model is what has happened to a connection so far. Its zero value is one that was just made.
type model struct {
	cast cast

	decided bool       // why the connection ends
	cause   life.Event // why
	gaveUp  bool       // a callback found that the connection had ended: no other begins, and what the peer does wrong is for nobody
	drains  bool       // the server waits for the callback that runs
	owes    bool       // OnError runs: the close frame follows it

	context  bool // has ended
	accepted bool // OnConnect has returned nil
	shut     bool // we have closed the transport

	mute, lost, sent, received, ended bool // as in life.State
}

// isReason reports whether e is why the connection ends, unless that is decided.
func (m *model) isReason(e life.Event) bool {
	switch e {
	case life.Close, life.CutOff, life.Starve, life.Fail, life.PeerClose, life.EndOfStream, life.ReadFailed, life.TransportEnded:
		return true
	case life.Violate, life.Lose:
		return !m.gaveUp
	case life.Expire:
		return !m.gaveUp || !m.mute // the callback may have found what the limit had led to
	case life.Drain:
		return m.cast.call == idle
	case life.Accept, life.Return:
		return m.drains
	}
	return false
}

// tell applies an event, and returns what is to be done.
func (m *model) tell(e life.Event) life.Do {
	if m.cast.over {
		return 0
	}
	m.note(e)
	var do life.Do
	switch e {
	case life.Begin:
		if m.cast.call == idle && !m.decided && !m.gaveUp {
			do = life.Run
		}
	case life.Accept:
		do = life.CountIn
	case life.Fail:
		do = life.Report // whoever has ended the connection
	case life.PeerClose, life.EndOfStream, life.Hangup, life.Overdue:
		do = life.EndContext
	case life.TransportEnded:
		do = m.over()
	}
	switch {
	case !m.decided && m.isReason(e):
		m.decided, m.cause = true, e
		do |= life.Decide | m.end(e)
	case e == life.Return && m.owes:
		do |= m.sayClose()
	default:
		do |= m.goOn(e)
	}
	if e == life.Accept || e == life.Return || m.decided {
		m.drains = false
	}
	if do.Has(life.EndContext) {
		m.context = true
	}
	m.cast = m.cast.told(e, do)
	return do
}

// note notes what e says.
func (m *model) note(e life.Event) {
	switch e {
	case life.Accept:
		m.accepted = true
	case life.GiveUp:
		m.gaveUp = !m.decided
	case life.Drain:
		m.drains = m.cast.call != idle && !m.decided
	case life.Lose:
		m.lost = true
	case life.WriteFailed:
		m.mute = true
	case life.CloseWritten:
		m.sent = true
	case life.PeerClose:
		m.received = true
	case life.EndOfStream:
		m.ended = true
	}
}

// end begins to end the connection for that reason.
func (m *model) end(why life.Event) life.Do {
	switch why {
	case life.Fail:
		m.owes = true
	case life.Violate, life.Lose:
		m.owes = true
		return life.Report
	case life.CutOff, life.EndOfStream, life.ReadFailed:
		return m.close(life.Kill)
	case life.Starve:
		return m.close(life.Abandon)
	case life.TransportEnded:
	default:
		return m.sayClose()
	}
	return 0
}

// sayClose queues the close frame. A connection that nothing can be written to is closed instead.
func (m *model) sayClose() life.Do {
	m.owes = false
	if m.shut {
		return 0
	}
	if m.mute {
		return m.close(life.Kill)
	}
	return life.Frame
}

// close closes the transport, once.
func (m *model) close(how life.Do) life.Do {
	if m.shut {
		return 0
	}
	m.shut = true
	return how | life.EndContext
}

// goOn is what e leads to in a connection that is ending already, or does not end by it.
func (m *model) goOn(e life.Event) life.Do {
	queued := m.cast.queued
	switch {
	case e == life.CutOff, e == life.ReadFailed, e == life.EndOfStream && (m.sent || m.mute):
		return m.close(life.Kill)
	case e == life.Starve:
		return m.close(life.Abandon)
	case e != life.PeerClose && e != life.CloseWritten && e != life.WriteFailed && e != life.Lose:
		return 0
	case queued && m.sent && (m.received || m.ended):
		return m.close(life.Finish) // the peer has said its last
	case queued && m.mute && (m.received || m.ended):
		return m.close(life.Kill) // the peer waits for a close frame that cannot be written
	case queued && m.sent && m.lost && !m.shut:
		return life.HalfClose // the peer's close frame cannot be found, its end of stream can
	}
	return 0
}

// over is the end of all.
func (m *model) over() life.Do {
	do := life.EndContext
	if m.accepted {
		do |= life.CountOut
	}
	if m.cast.called {
		do |= life.OnClose
	}
	return do
}

// ledger counts what was to be done in a connection's life.
type ledger struct {
	count [16]int // by the number of the bit
	state life.State
	over  bool
}

func (l *ledger) of(do life.Do) (n int) {
	for i, c := range l.count {
		if do.Has(1 << i) {
			n += c
		}
	}
	return n
}

// enter enters what a step has led to, and says what of it is against the promises, one step at a time.
func (l *ledger) enter(e life.Event, s life.State, do life.Do) error {
	ends := life.Kill | life.Abandon | life.Finish
	shut, decided := l.of(ends) > 0, l.of(life.Decide) > 0
	for i := range l.count {
		if do.Has(1 << i) {
			l.count[i]++
		}
	}
	before := l.state
	l.state = s
	switch {
	case l.over && do != 0:
		return fmt.Errorf("%v is to be done after the end of all", do)
	case s.Phase() < before.Phase():
		return fmt.Errorf("the phase went back from %v", before)
	case do.Has(life.Run) && before.Call() != life.None:
		return fmt.Errorf("a callback begins while another runs")
	case do.Has(life.Run) && (decided || s.Ends()):
		return fmt.Errorf("a callback begins after it was decided why the connection ends")
	case do.Has(life.Frame) && shut:
		return fmt.Errorf("a close frame is queued after the transport was closed")
	case do.Has(life.HalfClose) && shut:
		return fmt.Errorf("the sending direction is ended after the transport was closed")
	case do.Has(life.Report) && s.Call() == life.None:
		return fmt.Errorf("OnError is called, and another callback may begin")
	case do&(life.Frame|ends|life.HalfClose) != 0 && !s.Ends():
		return fmt.Errorf("%v is to be done to a connection that does not end", do)
	case do&ends != 0 && (!do.Has(life.EndContext) || s.Phase() != life.Cut):
		return fmt.Errorf("%v is to be done in %v", do, s)
	}
	l.over = l.over || e == life.TransportEnded
	return l.check()
}

// check says what was done too often.
func (l *ledger) check() error {
	for _, once := range []life.Do{life.Decide, life.Frame, life.Kill | life.Abandon | life.Finish, life.CountIn, life.CountOut, life.OnClose} {
		if n := l.of(once); n > 1 {
			return fmt.Errorf("%v was to be done %d times", once, n)
		}
	}
	if in, out := l.of(life.CountIn), l.of(life.CountOut); out > in {
		return fmt.Errorf("%d times counted in, %d times out", in, out)
	}
	return nil
}

// end says what is missing when all is over.
func (l *ledger) end(called bool) error {
	if err := l.check(); err != nil {
		return err
	}
	if n := l.of(life.Decide); n != 1 {
		return fmt.Errorf("it was decided %d times why the connection ends, want once", n)
	}
	if in, out := l.of(life.CountIn), l.of(life.CountOut); in != out {
		return fmt.Errorf("%d times counted in, %d times out", in, out)
	}
	if n := l.of(life.OnClose); (n == 1) != called {
		return fmt.Errorf("OnClose was called %d times, OnConnect: %v", n, called)
	}
	return nil
}
