package link_test

// Random scripts on a socket that takes what it likes, with whatever may happen while a write is under way, against a model
// that knows what the peer has to get.

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

var (
	modelSeeds = flag.Uint64("modelseeds", 1000, "how many scripts TestOutInOrder runs")
	modelFirst = flag.Uint64("modelfirst", 0, "the seed of the first")
)

// TestOutInOrder does what it finds in a random script.
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

// pretender is a poll.Socket that the model plays the kernel, the poller and the peer for. As a stream it
// writes nothing but in Writable.
type pretender struct {
	m      *outModel
	stream bool
	room   int    // bytes that a write may take
	owed   bool   // a call of Writable
	in     []byte // to be read
	eof    bool   // behind in
	out    []byte
	ended  bool // the sending direction
	closed bool
	failed bool // writes fail
}

func (p *pretender) Start(bool)                  {}
func (p *pretender) HungUp() bool                { return false }
func (p *pretender) Abandon(time.Duration) error { return p.Close() }
func (p *pretender) Unsent() int                 { return -1 }

func (p *pretender) Read(b []byte) (int, error) {
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case len(p.in) > 0:
		n := copy(b[:min(len(b), 1+p.m.r.IntN(200))], p.in)
		p.in = p.in[n:]
		return n, nil
	case p.eof:
		return 0, io.EOF
	}
	return 0, poll.ErrWouldBlock
}

func (p *pretender) Write(b []byte) (int, error) {
	if p.stream {
		return 0, poll.ErrWouldBlock
	}
	n, err := p.take(b, p.room)
	if err == nil && n < len(b) {
		err = poll.ErrWouldBlock
	}
	return n, err
}

// writeSome is what a stream's Writable writes with. It waits where it can take nothing.
func (p *pretender) writeSome(b []byte) (int, error) {
	return p.take(b, 1+p.m.r.IntN(60))
}

// take takes some of b, while other things happen.
func (p *pretender) take(b []byte, most int) (int, error) {
	if p.m.busy {
		p.m.t.Fatalf("seed %d: two write at once", p.m.seed)
	}
	before := bytes.Clone(b)
	p.m.busy = true
	for range min(p.m.left, p.m.r.IntN(3)) {
		p.m.left--
		p.m.act()
	}
	p.m.busy = false
	if !bytes.Equal(before, b) {
		p.m.t.Fatalf("seed %d: what is being written has changed", p.m.seed)
	}
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.failed:
		return 0, io.ErrClosedPipe
	case p.ended:
		p.m.t.Fatalf("seed %d: writes %d bytes behind the end", p.m.seed, len(b))
	}
	n := min(len(b), most)
	p.out = append(p.out, b[:n]...)
	p.room -= min(n, p.room)
	return n, nil
}

func (p *pretender) WantWrite() bool {
	if p.owed {
		p.m.t.Fatalf("seed %d: wants to write twice", p.m.seed)
	}
	p.owed = !p.closed
	return p.owed
}

func (p *pretender) CloseWrite() error {
	p.ended = true
	return nil
}

func (p *pretender) Close() error {
	p.closed = true
	return nil
}

// writable calls Writable where that is owed.
func (p *pretender) writable() {
	if !p.owed {
		return
	}
	p.owed = false
	if p.stream {
		p.m.c.Writable(p.writeSome)
	} else {
		p.m.c.Writable(nil)
	}
}

// outModel knows what the peer has to get.
type outModel struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	b       *board
	p       *pretender
	c       *link.Conn
	clock   *link.Clock
	traffic link.Traffic

	feeds   map[string]*feed // by topic, the latest
	opened  []*feed
	want    []string // own and published, in their order
	pings   []string // what the peer sent
	sent    int      // pings of the connection's own
	gaveUp  bool     // CloseWith had a peer cut that still read
	n       int
	busy    bool // in a write
	left    int  // of what happens in the writes of a step: a writer goes on while others queue
	bounded bool // the queue
	turning bool
	closing bool // a close frame was queued
	behind  bool
	cut     bool
	half    bool
	kinds   int  // which things happen often, as bits
	replies bool // things happen in callbacks
}

func newOutModel(t *testing.T, seed uint64) *outModel {
	r := rand.New(rand.NewPCG(seed, 2))
	m := &outModel{t: t, seed: seed, r: r, b: newBoard(), clock: new(link.Clock), feeds: make(map[string]*feed)}
	m.b.most = 1 + r.IntN(4)
	m.p = &pretender{m: m, stream: r.IntN(3) == 0}
	cfg := m.b.config()
	cfg.Clock, cfg.Reuse = m.clock, r.IntN(2) == 0
	if r.IntN(3) == 0 {
		m.bounded = true
		cfg.SendQueue = 50 + r.IntN(3000)
	}
	m.clock.Tick(time.Hour)
	m.c = link.NewConn(&cfg, m.p, m, &m.traffic, r.IntN(3) == 0)
	m.kinds = 1 + r.IntN(1<<10)
	m.replies = r.IntN(2) == 0
	return m
}

func (m *outModel) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d: %s", m.seed, fmt.Sprintf(format, args...))
}

// Turn drives the link as the root package does.
func (m *outModel) Turn() bool {
	for {
		msg, err := m.c.Next()
		switch e := err.(type) {
		case nil:
			before := bytes.Clone(msg.Data)
			if m.replies {
				m.act()
			}
			if !bytes.Equal(before, msg.Data) {
				m.fatalf("a message has changed during the callback")
			}
		case *link.PeerClose:
			m.closing = true
			m.c.CloseWith(link.CloseFrame{Code: e.Code})
		case *link.Violation:
			m.fatalf("violation: %v", err)
		default:
			if err == link.ErrAgain {
				return true
			}
			if err == io.EOF && m.c.PeerEnded() {
				m.half = true
				return true
			}
			m.cut = true
			m.c.Cut()
			return false
		}
	}
}

func (m *outModel) Hangup(error) {}
func (m *outModel) Done()        {}

func (m *outModel) Slow(err error) {
	if err != errBehind {
		m.fatalf("Slow is told %v, want %v", err, errBehind)
	}
	m.behind = true
	m.c.CloseWith(link.CloseFrame{Code: 1013, Drop: m.r.IntN(2) == 0, Behind: true, Half: true})
	m.closing = true
}

// step does something from outside of any write, and looks whether all is well.
func (m *outModel) step() {
	m.left = 10
	switch m.r.IntN(8) {
	case 0, 1:
		m.p.room = m.r.IntN(20) * m.r.IntN(20)
		m.p.writable()
	case 2:
		m.read()
	case 3:
		time.Sleep(time.Millisecond) // for what is held
		synctest.Wait()
	case 4:
		m.clock.Tick(time.Hour)
	default:
		m.act()
	}
	m.check()
}

func (m *outModel) check() {
	if err := m.c.Check(m.p.owed); err != nil {
		m.fatalf("%v", err)
	}
}

// read lets the link read what has arrived.
func (m *outModel) read() {
	m.turning = true
	for !m.p.closed && m.c.Ready() == poll.Again {
	}
	m.turning = false
}

func (m *outModel) topic() string { return feedTopics[m.r.IntN(len(feedTopics))] }

func (m *outModel) message(topic string) string {
	m.n++
	size := m.r.IntN(20) * m.r.IntN(20)
	if m.r.IntN(20) == 0 {
		size = 1000 + m.r.IntN(30_000)
	}
	return fmt.Sprintf("%s %d %s", topic, m.n, strings.Repeat("x", size))
}

// act does what any goroutine may do at any time.
func (m *outModel) act() {
	kind := m.r.IntN(40)
	if m.kinds>>(kind%10)&1 == 0 {
		kind = m.r.IntN(10)
	}
	topic := m.topic()
	switch kind {
	case 0, 1, 2, 3, 4:
		m.send()
	case 5, 6, 7, 8, 9, 10, 11:
		m.publish(topic)
	case 12, 13, 14, 15, 16:
		m.join(topic)
	case 17, 18, 19:
		m.b.leave(m.c, topic)
	case 20, 21:
		m.sent++
		m.c.Ping()
	case 22, 23, 24, 25, 26, 27:
		m.ping()
		if !m.busy && !m.turning {
			m.read()
		}
	case 28, 29:
		m.p.in = append(m.p.in, masked(wire.Fin|wire.Text, []byte(strings.Repeat("y", m.r.IntN(100))))...)
	case 30:
		m.p.in = append(m.p.in, masked(wire.Text, []byte("fragments"))...)
		m.ping()
		m.p.in = append(m.p.in, masked(wire.Fin|wire.Continuation, []byte("end"))...)
	case 31, 32:
		if f := m.feeds[topic]; f != nil {
			m.c.Wake(f)
		}
	case 33:
		if m.r.IntN(6) == 0 {
			m.b.forget(topic)
			if f := m.feeds[topic]; f != nil && m.r.IntN(2) == 0 {
				m.c.Wake(f)
			}
		}
	case 34:
		if m.r.IntN(10) == 0 {
			m.close()
		}
	case 35:
		m.rare()
	}
}

func (m *outModel) send() {
	text := m.message("")
	m.want = append(m.want, text)
	if m.bounded {
		m.left = 0 // it may write before it queues, and what was queued meanwhile would come first
	}
	err := m.c.Send(wire.Fin|wire.Text, []byte(text), false)
	if err != nil {
		at := slices.Index(m.want, text)
		m.want = slices.Delete(m.want, at, at+1)
	}
	if err == link.ErrClosed && !m.closing && !m.cut && !m.half && !m.p.failed && !m.fallen() {
		m.fatalf("Send: %v", err)
	}
}

// fallen reports whether a feed was given up.
func (m *outModel) fallen() bool {
	for _, f := range m.feeds {
		if f.gone {
			return true
		}
	}
	return m.behind
}

func (m *outModel) publish(topic string) {
	text := m.message(topic)
	m.b.publish(topic, text)
	if f := m.feeds[topic]; f != nil {
		if !f.ended && !f.gone {
			m.want = append(m.want, text)
		}
		if m.r.IntN(4) > 0 {
			m.c.Wake(f)
		}
	}
}

// join listens to a topic, now and then with what it had before.
func (m *outModel) join(topic string) {
	back := m.r.IntN(3) * m.r.IntN(2)
	f, err := m.b.joinWith(m.c, topic, back, func(f *feed) {
		m.feeds[topic], m.opened = f, append(m.opened, f)
		for _, p := range f.t.posts[f.next:] {
			h, n := wire.Parse(p.frame)
			m.want = append(m.want, string(p.frame[n:n+int(h.Length)]))
		}
	})
	if err == nil && f == nil && (m.feeds[topic] == nil || m.feeds[topic].ended || m.feeds[topic].gone) {
		m.fatalf("Listen to %s: is on it already", topic)
	}
}

// ping has the peer ping.
func (m *outModel) ping() {
	m.n++
	text := fmt.Sprintf("%d %s", m.n, strings.Repeat("p", m.r.IntN(110)))
	m.pings = append(m.pings, text)
	m.p.in = append(m.p.in, masked(wire.Fin|wire.Ping, []byte(text))...)
}

func (m *outModel) close() {
	f := link.CloseFrame{Code: 1000, Drop: m.r.IntN(2) == 0, Behind: m.r.IntN(3) == 0, Half: m.r.IntN(2) == 0}
	m.closing = true
	m.behind = m.behind || f.Behind
	if !m.c.CloseWith(f) && m.half && !m.cut && !m.p.failed {
		m.gaveUp = true
	}
}

// rare ends the connection in one of the other ways.
func (m *outModel) rare() {
	switch m.r.IntN(40) {
	case 0:
		m.cut = true
		m.c.Cut()
	case 1:
		m.p.eof = true
	case 2:
		m.p.failed, m.cut = true, true
	case 3:
		m.p.in = append(m.p.in, masked(wire.Fin|wire.Close, []byte{3, 0xe8})...)
		m.p.eof = true
	}
}

// end ends the connection in order, and compares.
func (m *outModel) end() {
	m.left = 0
	m.read()
	m.check()
	whole := !m.closing && !m.cut && !m.half && !m.fallen() && !m.p.failed && !m.p.closed && !m.p.eof
	if whole {
		for _, f := range m.opened {
			whole = whole && !f.lost()
		}
	}
	m.closing = true
	m.kinds = 0
	m.c.CloseWith(link.CloseFrame{Code: 1000})
	m.check()
	for i := 0; m.p.owed && !m.p.closed; i++ {
		if i > 100_000 {
			m.fatalf("goes on writing for ever")
		}
		m.p.room = 1 + m.r.IntN(500)
		m.p.writable()
		m.check()
	}
	m.read()
	ours := m.c.CloseSent()
	if whole && !ours {
		m.fatalf("the close frame was not sent")
	}
	if !m.p.closed && ours {
		m.p.in = append(m.p.in, masked(wire.Fin|wire.Close, []byte{3, 0xe8})...)
		m.read()
		if !m.p.closed {
			m.fatalf("both close frames were exchanged, and the socket is not closed")
		}
	}
	if !m.p.closed && m.half {
		m.fatalf("all is written for a peer that has ended, and the socket is not closed")
	}
	m.c.Cut()
	m.p.writable()
	m.c.Done()
	m.compare(whole)
}

func (m *outModel) compare(whole bool) {
	var got []string
	pong, closes := 0, 0
	last := ""
	b := m.p.out
	for len(b) > 0 {
		h, n := wire.Parse(b)
		if n == 0 || len(b)-n < int(h.Length) || h.Masked || h.First&^(wire.Fin|wire.RSV1|15) != 0 {
			if whole || m.c.CloseSent() {
				m.fatalf("the last frame is not whole, or no frame: %.40q", b)
			}
			break
		}
		p := string(b[n:][:h.Length])
		b = b[n+int(h.Length):]
		switch h.Opcode() {
		case wire.Text:
			if h.First&wire.RSV1 != 0 {
				p = inflated(m.t, p)
			}
			got = append(got, p)
		case wire.Ping:
			m.sent--
		case wire.Pong:
			for pong < len(m.pings) && m.pings[pong] != p {
				pong++
			}
			if pong == len(m.pings) {
				m.fatalf("a pong that nobody asked for: %.40q", p)
			}
			last = p
		case wire.Close:
			closes++
			if len(b) > 0 {
				m.fatalf("%d bytes behind the close frame", len(b))
			}
		default:
			m.fatalf("a frame that begins with %#x", h.First)
		}
	}
	if whole && closes != 1 || m.sent < 0 {
		m.fatalf("%d close frames, %d pings lacking", closes, m.sent)
	}
	if whole && len(m.pings) > 0 && last != m.pings[len(m.pings)-1] {
		m.fatalf("the last pong is %.40q, want %.40q", last, m.pings[len(m.pings)-1])
	}
	if m.gaveUp {
		m.fatalf("CloseWith has a peer cut that still reads")
	}
	if len(got)+m.c.Undelivered() != len(m.want) || whole && len(got) != len(m.want) {
		m.fatalf("%d messages came, %d are said to be undelivered, want %d together", len(got), m.c.Undelivered(), len(m.want))
	}
	for _, topic := range feedTopics {
		had, want := merged(got, topic), merged(m.want, topic)
		if whole && !slices.Equal(had, want) || !subsequence(had, want) ||
			!prefix(only(had, topic), only(want, topic)) || !prefix(only(had, " "), only(want, " ")) {
			m.fatalf("own messages and those of %s, whole: %v: %s", topic, whole, differ(had, want))
		}
	}
}
