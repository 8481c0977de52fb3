package life_test

// Heartbeat and timeouts, with time and a transport that the test drives.

import (
	"testing"
	"time"

	"example.com/hail/internal/life"
)

const tick = 100 * time.Millisecond

// usual are the limits of most tests: all different.
var usual = life.Limits{Message: 30 * time.Second, Write: 10 * time.Second, Ping: 25 * time.Second, Pong: 8 * time.Second,
	Close: 5 * time.Second, Tick: tick}

// stateAfter returns the state of a connection after these events.
func stateAfter(events ...life.Event) life.State {
	var m life.Machine
	for _, e := range events {
		m.Step(e)
	}
	return m.State()
}

var (
	open         = stateAfter(life.Begin, life.Accept)
	handles      = stateAfter(life.Begin, life.Accept, life.Begin)
	closing      = stateAfter(life.Begin, life.Accept, life.Close, life.CloseWritten)
	closingCall  = stateAfter(life.Begin, life.Accept, life.Begin, life.Close, life.CloseWritten)
	muted        = stateAfter(life.Begin, life.Accept, life.WriteFailed)
	mutedHandles = stateAfter(life.Begin, life.Accept, life.WriteFailed, life.Begin)
)

// patient is a connection, and its transport, that a test looks at.
type patient struct {
	t      *testing.T
	now    time.Duration
	pulse  life.Pulse
	limits life.Limits
	signs  life.Signs
	spread uint16

	written, held int64
	asked         int // for written and held
	pings         []time.Duration
}

// start is when tests begin. A moment is never 0.
const start = time.Minute

func newPatient(t *testing.T) *patient {
	return &patient{t: t, now: start, limits: usual, signs: life.Signs{State: open, Read: start}}
}

func (p *patient) Ping() { p.pings = append(p.pings, p.now) }

func (p *patient) Written() (written, held int64) {
	p.asked++
	return p.written, p.held
}

// look looks at a moment, and holds what is found against want.
func (p *patient) look(at time.Duration, want life.Finding) {
	p.t.Helper()
	p.now = at
	if got := p.pulse.Look(at, p.signs, &p.limits, p.spread, p); got != want {
		p.t.Fatalf("%v after the start: found %d, want %d", at-start, got, want)
	}
}

// watch looks each tick until a moment, and finds nothing. before is called ahead of each look.
func (p *patient) watch(until time.Duration, before func()) {
	p.t.Helper()
	for p.now+tick <= until {
		p.now += tick
		if before != nil {
			before()
		}
		p.look(p.now, life.Well)
	}
}

// finds has nothing found until limit has passed since a moment, a tick more allowed for, and then want.
func (p *patient) finds(want life.Finding, since, limit time.Duration) {
	p.t.Helper()
	p.watch(since+limit, nil)
	p.look(since+limit+p.limits.Tick, life.Well)
	p.look(since+limit+p.limits.Tick+1, want)
}

// wantPings holds the moments of the pings so far against those that are wanted.
func (p *patient) wantPings(want ...time.Duration) {
	p.t.Helper()
	if len(p.pings) != len(want) {
		p.t.Fatalf("got pings at %v, want them at %v", p.pings, want)
	}
	for i, got := range p.pings {
		if got != want[i] {
			p.t.Errorf("ping %d: got it %v after the start, want it after %v", i, got-start, want[i]-start)
		}
	}
}

// findings are the timeouts, with the shortest way to each.
var findings = map[string]struct {
	finding life.Finding
	signs   life.Signs
	held    int64
	limit   func(*life.Limits) *time.Duration
}{
	"Unread": {life.Unread, life.Signs{State: open, Read: start, Stall: start}, 10, func(l *life.Limits) *time.Duration { return &l.Write }},
	"Unread, while a callback runs": {life.Unread, life.Signs{State: handles, Stall: start}, 10,
		func(l *life.Limits) *time.Duration { return &l.Write }},
	"Unread, of a connection that ends": {life.Unread, life.Signs{State: stateAfter(life.Begin, life.Accept, life.Close), Stall: start}, 10,
		func(l *life.Limits) *time.Duration { return &l.Write }},
	"Slow":       {life.Slow, life.Signs{State: open, Read: start + time.Hour, Message: start}, 0, func(l *life.Limits) *time.Duration { return &l.Message }},
	"Unanswered": {life.Unanswered, life.Signs{State: closing, Closed: start}, 0, func(l *life.Limits) *time.Duration { return &l.Close }},
	"Unanswered, of a transport that does not tell": {life.Unanswered, life.Signs{State: closing, Closed: start}, -1,
		func(l *life.Limits) *time.Duration { return &l.Close }},
	"Unanswered, as nothing can be written": {life.Unanswered, life.Signs{State: muted, Read: start, Closed: start}, 0,
		func(l *life.Limits) *time.Duration { return &l.Close }},
	"Unreachable": {life.Unreachable, life.Signs{State: closing, Closed: start}, 10, func(l *life.Limits) *time.Duration { return &l.Write }},
	"Waiting":     {life.Waiting, life.Signs{State: closingCall, Closed: start}, 0, func(l *life.Limits) *time.Duration { return &l.Close }},
	"Waiting, although the system holds data": {life.Waiting, life.Signs{State: closingCall, Closed: start}, 10,
		func(l *life.Limits) *time.Duration { return &l.Close }},
	"Unanswered while a callback runs, as nothing can be written": {life.Unanswered, life.Signs{State: mutedHandles, Closed: start}, 0,
		func(l *life.Limits) *time.Duration { return &l.Close }},
}

// TestFindings has each timeout found when its limit has passed, and a tick more: a stamp may be so old.
func TestFindings(t *testing.T) {
	t.Parallel()
	for name, tc := range findings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, factor := range []time.Duration{1, 2} {
				p := newPatient(t)
				p.signs, p.written, p.held = tc.signs, 10, tc.held
				limit := tc.limit(&p.limits)
				*limit *= factor
				p.finds(tc.finding, start, *limit)
				p.look(p.now+tick, tc.finding) // again, until something is done about it
			}
			p := newPatient(t)
			p.signs, p.written, p.held = tc.signs, 10, tc.held
			p.look(start+24*time.Hour, tc.finding) // by a look that comes late
		})
	}
}

// TestLimitsThatAreOff has each limit off in turn.
func TestLimitsThatAreOff(t *testing.T) {
	t.Parallel()
	for name, tc := range findings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, off := range []time.Duration{0, -1} {
				p := newPatient(t)
				p.signs, p.written, p.held = tc.signs, 10, tc.held
				p.limits.Ping = off
				*tc.limit(&p.limits) = off
				for range 100 {
					p.look(p.now+time.Hour, life.Well)
				}
				p.wantPings()
			}
		})
	}
	for _, off := range []time.Duration{0, -1} {
		p := newPatient(t)
		p.limits.Pong = off
		p.watch(start+time.Hour, nil)
		p.wantPings(start + usual.Ping) // and nothing is found
	}
}

// TestUnsetSigns looks at a connection of which nothing is known for long.
func TestUnsetSigns(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.limits.Ping = 0
	for range 1000 {
		p.look(p.now+time.Minute, life.Well)
	}
	if p.asked > 0 {
		t.Errorf("the transport was asked %d times, want not at all: nothing waits", p.asked)
	}
}

// TestUnreadBeforeAnythingElse has all timeouts pass at once.
func TestUnreadBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.signs.Stall, p.signs.Message, p.signs.Closed = start, start, start
	p.look(start+time.Hour, life.Unread)
}

// TestProgress has a peer accept now and then some of what the system holds for it.
func TestProgress(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		finding life.Finding
		signs   life.Signs
	}{
		"moves the stall":             {life.Unread, life.Signs{State: open, Read: start + time.Hour, Stall: start}},
		"moves the close timeout":     {life.Unreachable, life.Signs{State: closing, Closed: start}},
		"moves it of a muted one too": {life.Unreachable, life.Signs{State: muted, Read: start + time.Hour, Closed: start}},
	} {
		for held, begin := range map[string]int64{"all that was written": 1000, "a part": 500, "more than was written": 4000} {
			t.Run(name+"/the system holds "+held, func(t *testing.T) {
				t.Parallel()
				p := newPatient(t)
				p.signs, p.written, p.held = tc.signs, 1000, begin
				p.look(start, life.Well)
				last := start
				for range 20 {
					p.watch(last+usual.Write, nil) // shorter than the timeout
					p.held -= 10
					p.now += tick
					p.look(p.now, life.Well)
					last = p.now
				}
				p.finds(tc.finding, last, usual.Write)
			})
		}
	}
}

// TestNoProgress has a transport tell what is none.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *patient, i int){
		"what is written is held":           func(p *patient, i int) { p.written += 10; p.held += 10 },
		"the transport does not tell":       func(p *patient, i int) { p.written += 10; p.held = -1 },
		"what is held rises, and falls":     func(p *patient, i int) { p.held += 10 - int64(i%2)*20 },
		"more is held than was ever before": func(p *patient, i int) { p.held += 10 },
		"nothing changes":                   func(p *patient, i int) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			p.written, p.held = 1000, 500
			p.signs.Stall, p.signs.Read = start, start+time.Hour
			p.look(start, life.Well)
			i := 0
			p.watch(start+usual.Write+tick, func() { change(p, i); i++ })
			p.look(p.now+1, life.Unread)
		})
	}
}

// TestProgressThatNobodySaw has a peer accept much between two stalls: the first look at the second is no progress.
func TestProgressThatNobodySaw(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.signs.Read = start + time.Hour
	p.written, p.held = 1000, 1000
	p.signs.Stall = start
	p.watch(start+time.Second, nil)
	p.signs.Stall = 0
	p.watch(start+2*time.Second, nil)
	asked := p.asked
	p.watch(start+3*time.Second, nil)
	if p.asked != asked {
		t.Errorf("the transport was asked %d times, want not at all: nothing waits", p.asked-asked)
	}
	p.written, p.held = 5000, 100
	p.signs.Stall = p.now
	p.finds(life.Unread, p.now, usual.Write)
}

// TestCloseTimeout has the close frame written and not acknowledged: the limit is the longer of two. Once it is acknowledged, the peer
// has CloseTimeout from then on.
func TestCloseTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ write, close, limit time.Duration }{
		"WriteTimeout is longer": {10 * time.Second, 5 * time.Second, 10 * time.Second},
		"CloseTimeout is longer": {3 * time.Second, 5 * time.Second, 5 * time.Second},
		"WriteTimeout is off":    {-1, 5 * time.Second, 0},
		"CloseTimeout is off":    {10 * time.Second, -1, 0},
		"CloseTimeout is zero":   {10 * time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := func() *patient {
				p := newPatient(t)
				p.limits.Write, p.limits.Close = tc.write, tc.close
				p.signs = life.Signs{State: closing, Closed: start}
				p.written, p.held = 100, 4
				return p
			}
			p := closed()
			if tc.limit > 0 {
				p.finds(life.Unreachable, start, tc.limit)
			} else {
				p.watch(start+time.Hour, nil)
			}
			p = closed()
			p.watch(start+2*time.Second, nil)
			p.held = 0
			p.watch(p.now+tick, nil)
			if tc.close > 0 {
				p.finds(life.Unanswered, p.now, tc.close)
			} else {
				p.watch(start+time.Hour, nil)
			}
		})
	}
}

// TestEndingIsNotWatched has a connection that ends neither pinged nor found slow.
func TestEndingIsNotWatched(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]life.State{
		"failing": stateAfter(life.Begin, life.Accept, life.Violate),
		"closing": closing,
		"cut":     stateAfter(life.Begin, life.Accept, life.CutOff),
		"done":    stateAfter(life.Begin, life.Accept, life.CutOff, life.TransportEnded),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			p.signs = life.Signs{State: state, Read: start, Message: start}
			p.watch(start+time.Hour, nil)
			p.wantPings()
		})
	}
}
