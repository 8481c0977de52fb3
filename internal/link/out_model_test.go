package link_test

// Random scripts on a socket that accepts random amounts, with all events that may happen during a write, against a
// model of the bytes that the peer has to get. The events are in out_acts_test.go.

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

var (
	modelSeeds = flag.Uint64("modelseeds", 1000, "how many scripts TestOutInOrder runs")
	modelFirst = flag.Uint64("modelfirst", 0, "the seed of the first")
)

// TestOutInOrder runs random scripts.
func TestOutInOrder(t *testing.T) {
	t.Parallel()
	const parts = 8
	for part := range uint64(parts) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := *modelFirst + part; seed < *modelFirst+*modelSeeds && !t.Failed(); seed += parts {
				synctest.Test(t, func(t *testing.T) {
					m := newOutModel(t, seed)
					for range 20 + m.r.IntN(130) {
						m.step()
					}
					m.end()
				})
			}
		})
	}
}

// outModel knows the messages that the peer has to get.
type outModel struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	b    *board
	p    *pretender
	o    *owner
	now  time.Duration

	feeds  map[string]*feed // by topic, the latest
	opened []*feed
	want   []string // own and published, in their order
	pings  []string // that the peer sent
	sent   int      // pings of the connection's own
	n      int      // messages and pings so far

	left    int  // events left in the writes of a step: a writer continues while others queue
	bounded bool // the queue
	turning bool
	broke   bool // the peer broke the protocol, as was meant
	kinds   int  // which things happen often, as bits
	replies bool // things happen in callbacks
}

func newOutModel(t *testing.T, seed uint64) *outModel {
	r := rand.New(rand.NewPCG(seed, 2))
	m := &outModel{t: t, seed: seed, r: r, b: newBoard(), now: 1, feeds: make(map[string]*feed)}
	m.b.most = 1 + r.IntN(4)
	m.p = &pretender{t: t, seed: seed, r: r, act: m.meanwhile, stream: r.IntN(3) == 0}
	cfg := m.b.config()
	cfg.Now, cfg.Reuse = func() time.Duration { return m.now }, r.IntN(2) == 0
	if r.IntN(3) == 0 {
		m.bounded = true
		cfg.SendQueue = 50 + r.IntN(3000)
	}
	m.o = newOwner(t)
	m.o.message, m.o.broke, m.o.slow = m.receive, m.violation, m.slow
	m.o.Conn = link.NewConn(&cfg, m.p, m.o, &m.o.traffic, r.IntN(3) == 0)
	m.p.c = m.o.Conn
	m.kinds = 1 + r.IntN(1<<10)
	m.replies = r.IntN(2) == 0
	return m
}

func (m *outModel) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d: %s", m.seed, fmt.Sprintf(format, args...))
}

// receive is the callback for a message.
func (m *outModel) receive(msg link.Message) {
	before := bytes.Clone(msg.Data)
	if m.replies {
		m.act()
	}
	if !bytes.Equal(before, msg.Data) {
		m.fatalf("a message has changed during the callback")
	}
}

func (m *outModel) violation(v *link.Violation) {
	if !m.broke {
		m.fatalf("violation: %v", v)
	}
}

func (m *outModel) slow(err error) {
	if err != errBehind {
		m.fatalf("Slow is told %v, want %v", err, errBehind)
	}
}

// phase returns how far the connection's life has come.
func (m *outModel) phase() life.Phase { return m.o.life.State().Phase() }

// fallen reports whether published messages were given up.
func (m *outModel) fallen() bool {
	return slices.ContainsFunc(m.opened, func(f *feed) bool { return f.given })
}

// check checks the link while no goroutine writes.
func (m *outModel) check() {
	m.t.Helper()
	if err := m.o.Check(m.p.owed); err != nil {
		m.fatalf("%v", err)
	}
	switch s := m.o.life.State(); {
	case s.Phase() == life.Failing:
		m.fatalf("%v, and no callback runs", s)
	case s.Phase() == life.Cut && !m.p.closed:
		m.fatalf("%v, and the socket is open", s)
	case m.p.closed && s.Phase() < life.Cut:
		m.fatalf("%v, and the socket is closed", s)
	}
}

// read lets the link read the bytes that have arrived.
func (m *outModel) read() {
	m.turning = true
	for !m.p.closed && m.o.Ready() == poll.Again {
	}
	m.turning = false
}

// end ends the connection in order, and compares.
func (m *outModel) end() {
	m.left = 0
	m.read()
	m.check()
	whole := m.phase() == life.Open && !m.fallen() && !m.p.failed && !m.p.reset && !m.p.eof &&
		!slices.ContainsFunc(m.opened, (*feed).lost)
	m.kinds = 0
	m.o.Close(link.CloseFrame{Code: 1000})
	m.check()
	m.writeAll()
	m.read()
	s := m.o.life.State()
	switch {
	case whole && !s.Sent():
		m.fatalf("the close frame was not written: %v", s)
	case s.Phase() == life.Closing && m.o.wasTold() == "":
		m.fatalf("all is written, and the owner is told nothing: %v", s)
	case s.Phase() == life.Closing && s.Sent():
		m.answer()
	}
	m.o.Cut()
	m.p.writable()
	m.o.Conn.Done()
	m.compare(whole)
}

// writeAll lets all be written.
func (m *outModel) writeAll() {
	for i := 0; m.p.owed && !m.p.closed; i++ {
		if i > 100_000 {
			m.fatalf("goes on writing for ever")
		}
		m.p.room = 1 + m.r.IntN(500)
		m.p.writable()
		m.check()
	}
}

// answer has the peer answer the close frame.
func (m *outModel) answer() {
	m.p.in = append(m.p.in, masked(wire.Fin|wire.Close, []byte{3, 0xe8})...)
	m.read()
	m.check()
	if m.broke && !m.p.closed {
		if !m.p.ended {
			m.fatalf("the peer's close frame cannot be found, and the sending direction is open: %v", m.o.life.State())
		}
		m.p.eof = true
		m.read()
	}
	if !m.p.closed {
		m.fatalf("both close frames were exchanged, and the socket is open: %v", m.o.life.State())
	}
}

// delivery holds the frames that the peer got.
type delivery struct {
	texts  []string
	pongs  []string
	pings  int
	closes int
}

// compare compares the messages that the peer got with those that it had to get.
func (m *outModel) compare(whole bool) {
	d := m.delivered(whole || m.o.life.State().Sent())
	if whole && d.closes != 1 || d.closes != 0 && !whole && m.o.code() == 0 || d.pings > m.sent {
		m.fatalf("%d close frames for an end with %d, %d pings of %d", d.closes, m.o.code(), d.pings, m.sent)
	}
	if !subsequence(d.pongs, m.pings) {
		m.fatalf("pongs %.20q, want some of %.20q", d.pongs, m.pings)
	}
	if n := len(m.pings); whole && n > 0 && (len(d.pongs) == 0 || d.pongs[len(d.pongs)-1] != m.pings[n-1]) {
		m.fatalf("the last of pongs %.20q is not for %.20q", d.pongs, m.pings[n-1])
	}
	lost := m.o.Undelivered()
	if len(d.texts)+lost != len(m.want) || whole && lost != 0 {
		m.fatalf("%d messages came, %d are said to be undelivered, want %d together, whole: %v", len(d.texts), lost, len(m.want), whole)
	}
	for _, topic := range feedTopics {
		had, want := merged(d.texts, topic), merged(m.want, topic)
		if whole && !slices.Equal(had, want) || !subsequence(had, want) ||
			!prefix(only(had, topic), only(want, topic)) || !prefix(only(had, " "), only(want, " ")) {
			m.fatalf("own messages and those of %s, whole: %v: %s", topic, whole, differ(had, want))
		}
	}
}

// delivered parses the written bytes. They have to be frames. Only the last may break off, and only if not all.
func (m *outModel) delivered(all bool) (d delivery) {
	for b := m.p.out; len(b) > 0; {
		h, n := wire.Parse(b)
		if n == 0 || len(b)-n < int(h.Length) || h.Masked || h.First&^(wire.Fin|wire.RSV1|15) != 0 {
			if all {
				m.fatalf("the last frame is not whole, or no frame: %.40q", b)
			}
			return d
		}
		p := string(b[n:][:h.Length])
		b = b[n+int(h.Length):]
		switch h.Opcode() {
		case wire.Text:
			if h.First&wire.RSV1 != 0 {
				p = inflated(m.t, p)
			}
			d.texts = append(d.texts, p)
		case wire.Ping:
			d.pings++
		case wire.Pong:
			d.pongs = append(d.pongs, p)
		case wire.Close:
			if d.closes++; len(b) > 0 {
				m.fatalf("%d bytes after the close frame", len(b))
			}
		default:
			m.fatalf("a frame that begins with %#x", h.First)
		}
	}
	return d
}
