package life_test

// Random orders of events, held against the model.

import (
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/hail/internal/life"
)

// pair is a machine beside its model, which are told of the same events.
type pair struct {
	machine life.Machine
	model   model
	ledger  ledger
	events  []life.Event
	cause   life.Event
}

// can returns whether somebody may tell of e now.
func (p *pair) can(e life.Event) bool { return p.model.cast.may(p.machine.State(), e) }

// tell tells both of e, and says where they differ.
func (p *pair) tell(t *testing.T, e life.Event) {
	t.Helper()
	p.events = append(p.events, e)
	ended := life.Do(0)
	if p.model.context {
		ended = life.EndContext // again, which does nothing
	}
	want := p.model.tell(e)
	state, got := p.machine.Step(e)
	if got&^ended != want&^ended {
		t.Fatalf("after %v, in %v: got %q to do, want %q", p.events, state, got, want)
	}
	if got.Has(life.Decide) {
		p.cause = e
	}
	if err := p.ledger.enter(e, state, got); err != nil {
		t.Fatalf("after %v, in %v: %v", p.events, state, err)
	}
	if m := &p.model; state.Accepted() != m.accepted || state.Called() != m.cast.called || state.Ends() != m.decided ||
		state.IsOpen() != (m.accepted && !m.cast.over) || (state.Call() != life.None) != (m.cast.call != idle) {
		t.Fatalf("after %v: got %v, the model has %+v", p.events, state, *m)
	}
}

// end ends the life, and judges it.
func (p *pair) end(t *testing.T, cut bool) {
	t.Helper()
	for _, e := range []life.Event{life.Begin, life.Accept, life.Return, life.CutOff, life.TransportEnded} {
		if (e != life.Begin || !p.model.cast.begun) && (e != life.CutOff || cut) && p.can(e) {
			p.tell(t, e)
		}
	}
	for e := range life.Events {
		if p.can(e) {
			p.tell(t, e) // late
		}
	}
	if p.machine.State().Phase() != life.Done {
		t.Fatalf("after %v: got %v, want done", p.events, p.machine.State())
	}
	if err := p.ledger.end(p.model.cast.called); err != nil {
		t.Fatalf("after %v: %v", p.events, err)
	}
	if p.cause != p.model.cause {
		t.Fatalf("after %v: got the cause %v, want %v", p.events, p.cause, p.model.cause)
	}
	if sent, received := p.machine.State().Sent(), p.machine.State().Received(); sent && received && p.ledger.of(life.Finish|life.Kill|life.Abandon) == 0 {
		t.Fatalf("after %v: both close frames were exchanged, and nobody closed the transport", p.events)
	}
}

// play plays a life: each byte stands for an event, or the next one that can happen.
func play(t *testing.T, data []byte) {
	t.Helper()
	var p pair
	for _, b := range data {
		e := life.Event(b) % life.Events
		for !p.can(e) {
			e = (e + 1) % life.Events
		}
		p.tell(t, e)
	}
	p.end(t, len(data)%2 == 0)
}

// FuzzMachine has events come in any order in which they can.
func FuzzMachine(f *testing.F) {
	for _, events := range [][]life.Event{
		{life.Begin, life.Accept, life.Begin, life.Return, life.PeerClose, life.CloseWritten},
		{life.Begin, life.Accept, life.Close, life.CloseWritten, life.PeerClose},
		{life.Begin, life.Accept, life.Begin, life.Drain, life.Return, life.CloseWritten, life.PeerClose},
		{life.Begin, life.Drain, life.Violate, life.Accept},
		{life.Begin, life.Drain, life.GiveUp, life.WriteFailed, life.Return},
		{life.Begin, life.Fail, life.Drain, life.Return, life.CloseWritten, life.EndOfStream},
		{life.Begin, life.Accept, life.Lose, life.Return, life.CloseWritten, life.EndOfStream},
		{life.Begin, life.Accept, life.Begin, life.Close, life.Fail, life.Return, life.PeerClose, life.WriteFailed},
		{life.Begin, life.Accept, life.PeerClose, life.EndOfStream, life.CloseWritten},
		{life.Drain, life.Begin, life.Starve},
	} {
		var data []byte
		for _, e := range events {
			data = append(data, byte(e))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return // nothing new comes
		}
		play(t, data)
		careless(t, data)
	})
}

// TestRandomLives is a short FuzzMachine.
func TestRandomLives(t *testing.T) {
	t.Parallel()
	const seed, lives = 1, 5_000
	r := rand.New(rand.NewPCG(seed, 0))
	for range lives {
		data := make([]byte, 3+r.IntN(30))
		for i := range data {
			data[i] = byte(r.IntN(int(life.Events)))
		}
		play(t, data)
		careless(t, data)
	}
}

// careless tells a machine of events that nobody may tell it of, except that only a callback that runs returns, and that the
// transport ends once, when none does. The promises hold all the same.
func careless(t *testing.T, data []byte) {
	t.Helper()
	var m life.Machine
	var l ledger
	var events []life.Event
	for i, b := range append(slices.Clip(data), byte(life.Accept), byte(life.TransportEnded)) {
		s, e := m.State(), life.Event(b)%life.Events
		switch e {
		case life.Accept, life.Return, life.Fail, life.GiveUp:
			if s.Call() == life.None {
				continue
			}
			if (e == life.Accept || e == life.Return) && !s.Accepted() {
				e = life.Accept
			} else if e == life.Accept {
				e = life.Return
			}
		case life.TransportEnded:
			if s.Call() != life.None || i < len(data) {
				continue
			}
		}
		state, do := m.Step(e)
		events = append(events, e)
		do &^= life.HalfClose // which is as often as the place of the next frame is lost
		if err := l.enter(e, state, do); err != nil {
			t.Fatalf("after %v, in %v: %v", events, state, err)
		}
	}
	if err := l.end(m.State().Called()); err != nil {
		t.Fatalf("after %v, in %v: %v", events, m.State(), err)
	}
}
