package life_test

// Pings and their answers, and the time that a callback needs.

import (
	"testing"
	"time"

	"example.com/hail/internal/life"
)

func TestPingComesAfterSilence(t *testing.T) {
	t.Parallel()
	for spread, want := range map[uint16]time.Duration{
		0:       25 * time.Second,
		1 << 15: 22*time.Second + 500*time.Millisecond,
		1 << 14: 23*time.Second + 750*time.Millisecond,
	} {
		p := newPatient(t)
		p.spread = spread
		p.limits.Ping = 25 * time.Second / (5 << 16) * (5 << 16) // divides evenly
		off := 25*time.Second - p.limits.Ping
		p.look(start+want-time.Millisecond-off, life.Well)
		p.wantPings()
		p.look(start+want, life.Well)
		p.wantPings(start + want)
	}
}

// TestPingsAreSpread has the spread take off up to a fifth, and never more.
func TestPingsAreSpread(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{time.Nanosecond, time.Millisecond, time.Second, 25 * time.Second, 1000 * time.Hour} {
		last := interval + 1
		for _, spread := range []uint16{0, 1, 1 << 8, 1 << 12, 1 << 15, 1<<16 - 1} {
			// The earliest ping, by halves.
			low, high := time.Duration(0), interval
			for low < high {
				middle := low + (high-low)/2
				p := newPatient(t)
				p.limits.Ping, p.spread = interval, spread
				p.look(start+middle, life.Well)
				if len(p.pings) > 0 {
					high = middle
				} else {
					low = middle + 1
				}
			}
			if low < interval*4/5 || low > last {
				t.Errorf("interval %v, spread %d: got the ping after %v, want it after four fifths at least, and %v at most", interval, spread, low, last)
			}
			last = low
		}
		if least := interval*4/5 + interval/1000 + 1<<16; last > least {
			t.Errorf("interval %v: got the ping of the largest spread after %v, want about four fifths", interval, last)
		}
	}
}

// TestPingIsAnswered has a peer answer each ping at the last moment, by whatever it sends.
func TestPingIsAnswered(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	var want []time.Duration
	for range 5 {
		want = append(want, p.signs.Read+usual.Ping)
		p.watch(p.signs.Read+usual.Ping+usual.Pong, nil)
		p.wantPings(want...)
		p.signs.Read = p.now
	}
	want = append(want, p.signs.Read+usual.Ping)
	p.finds(life.Silent, want[len(want)-1], usual.Pong)
	p.wantPings(want...)
	p.signs.Read = p.now // an answer after all
	p.look(p.now+tick, life.Well)
}

// TestLifeBeforeAPing has a peer send something just before each ping would come.
func TestLifeBeforeAPing(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for range 100 {
		p.watch(p.signs.Read+usual.Ping-tick, nil)
		p.signs.Read = p.now
	}
	p.wantPings()
}

// TestAnswerAtTheMomentOfThePing has something arrive in the same tick in which the ping was sent.
func TestAnswerAtTheMomentOfThePing(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.watch(start+usual.Ping, nil)
	p.signs.Read = p.now
	p.watch(p.now+usual.Ping, nil)
	p.wantPings(start+usual.Ping, start+2*usual.Ping)
}

// TestPingWaitsForWhatIsBeforeIt has a peer accept slowly what was written ahead of the ping: its answer cannot come earlier.
func TestPingWaitsForWhatIsBeforeIt(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.written, p.held = 1000, 100
	p.watch(start+usual.Ping, nil)
	pinged := start + usual.Ping
	last := pinged
	for p.held > 0 {
		p.watch(last+usual.Pong, nil)
		p.written, p.held = p.written+50, p.held-10+50 // more follows
		p.now += tick
		p.look(p.now, life.Well)
		last = p.now
		if p.written-p.held >= 1000 {
			break
		}
	}
	// What was written after the ping may be accepted, and is no answer.
	i := 0
	p.watch(last+usual.Pong+tick, func() {
		if i++; i%10 == 0 {
			p.held -= 1
		}
	})
	p.look(p.now+1, life.Silent)
	p.wantPings(pinged)
}

// TestAnswerBesideProgress has an answer and progress seen by the same look: the ping is answered, and not put off.
func TestAnswerBesideProgress(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.written, p.held = 1000, 100
	p.watch(start+usual.Ping, nil)
	p.signs.Read = p.now
	p.held = 50
	p.watch(p.now+usual.Ping, nil)
	p.wantPings(start+usual.Ping, start+2*usual.Ping)
}

// TestPingBehindAStall has a write wait when a ping is due: the ping waits too.
func TestPingBehindAStall(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.limits.Write = time.Hour
	p.written, p.held = 1000, 1000
	p.signs.Stall = start
	stalled := start + 10*usual.Ping
	p.watch(stalled, nil)
	p.wantPings(start + usual.Ping)
	p.signs.Stall = 0
	p.finds(life.Silent, stalled, usual.Pong)
	p.wantPings(start + usual.Ping)
}

// TestPingsGoal has the stall end when more was written than before the ping: all that was written during the stall is before the ping.
func TestPingsGoal(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.limits.Write = time.Hour
	p.written, p.held = 1000, 1000
	p.signs.Stall = start
	p.watch(start+usual.Ping, nil)
	p.written, p.held = 1500, 1500
	p.watch(p.now+time.Second, nil)
	p.signs.Stall = 0
	for range 15 {
		p.watch(p.now+usual.Pong, nil)
		p.held -= 100
		p.watch(p.now+tick, nil)
	}
	p.finds(life.Silent, p.now, usual.Pong)
}

// TestCallbackIsNotSilence has a callback run for long: nobody reads meanwhile.
func TestCallbackIsNotSilence(t *testing.T) {
	t.Parallel()
	for name, ping := range map[string]bool{"before a ping": false, "after a ping": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			var want []time.Duration
			if ping {
				p.watch(start+usual.Ping+time.Second, nil)
				want = append(want, start+usual.Ping)
			}
			p.signs.State = handles
			p.signs.Message = start // of the next message, that nobody reads
			p.watch(start+time.Hour, nil)
			p.wantPings(want...)
			p.signs.State, p.signs.Message = open, 0
			returned := p.now
			p.watch(returned+usual.Ping, nil)
			p.wantPings(append(want, returned+usual.Ping)...)
			p.finds(life.Silent, returned+usual.Ping, usual.Pong)
		})
	}
}

// TestPeersCloseFrameAfterACallback has a callback run until after CloseTimeout: the peer's close frame may have come, and is looked for.
func TestPeersCloseFrameAfterACallback(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.signs = life.Signs{State: closingCall, Closed: start}
	p.watch(start+usual.Close+tick, nil)
	for range 100 {
		p.look(p.now+tick, life.Waiting)
	}
	p.signs.State = closing
	p.finds(life.Unanswered, p.now, usual.Close)
}

// TestCallbacksDelayNothingForAMutedPeer has callbacks come and go after nothing can be written: CloseTimeout counts all the same.
func TestCallbacksDelayNothingForAMutedPeer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		last life.State
		want life.Finding
	}{
		"none runs in the end": {muted, life.Unanswered},
		"one runs in the end":  {mutedHandles, life.Unanswered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			p.signs.Closed = start
			i := 0
			p.watch(start+usual.Close+tick, func() {
				p.signs.State, p.signs.Read = []life.State{muted, mutedHandles}[i/3%2], p.now
				i++
			})
			p.signs.State = tc.last
			p.look(p.now+1, tc.want)
		})
	}
}

// TestWaitingNeedsACloseFrame has a callback run for long in a connection that does not end, or whose close frame waits.
func TestWaitingNeedsACloseFrame(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]life.State{
		"open":    handles,
		"closing": stateAfter(life.Begin, life.Accept, life.Begin, life.Close),
		"failing": stateAfter(life.Begin, life.Accept, life.Violate),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			p.signs.State = state
			p.watch(start+time.Hour, nil)
		})
	}
}
