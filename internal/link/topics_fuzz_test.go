package link_test

// Connections and topics together, driven by bytes that stand for operations, against a model of the messages that each
// peer has to get.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// FuzzTopics subscribes, unsubscribes, publishes, sends, asks for history, lets some bytes be written and
// ends connections, as its input says. A peer accepts only the bytes that it is granted. The first byte is the configuration.
// Then each operation is two bytes: the first is its kind and its peer, the second its variant.
func FuzzTopics(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x11\x00\x00\x00\x00\x10\x04\x20\x05\xff\x15\x05\x03\x00\x00\x21\x06\x00"))
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x05\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x02\x05\xff"))
	f.Add([]byte("\x02\x01\x00\x00\xf0\x00\xf0\x05\x09\x00\xf0\x00\xf0\x00\xf0\x00\xf0\x00\xf0\x05\x20\x05\xff"))
	f.Add([]byte("\x04\x00\x00\x00\x00\x00\x00\x02\x00\x12\x03\x00\x00\x09\xff\x22\x00\x05\xff\x15\xff\x25\xff"))
	f.Add([]byte("\x0f\x01\x00\x11\x00\x0a\x00\x1a\x00\x0a\x03\x04\x00\x05\x40\x03\x00\x0a\x00\x01\x00\x0a\x00\x07\x00\x16\x00"))
	f.Add([]byte("\x0c\x01\x00\x00\xe0\x00\xe3\x05\x01\x03\x00\x02\x00\x00\xe0\x04\x11\x08\x00\x05\x09\x06\x00\x05\xff"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			m := newTopicsModel(t, script[0])
			for ops := range slices.Chunk(script[1:min(len(script), 300)], 2) {
				if len(ops) == 2 {
					m.do(ops[0], ops[1])
				}
			}
			m.end()
		})
	})
}

const topicsAge = time.Minute

// topicsModel knows the messages that were published, and the peers that get them.
type topicsModel struct {
	t       *testing.T
	cfg     fanout.Config
	hub     *fanout.Hub
	log     map[string][]posted
	peers   []*topicsPeer
	cursors []*fanout.Cursor // all there were
	n       int
}

// posted is a published message.
type posted struct {
	seq    uint64
	sender uint64
	text   string
	size   int // the bytes of it that its log keeps, at the most
	at     time.Time
}

// topicsPeer is a connection, and the messages that its peer has to get.
type topicsPeer struct {
	*owner
	m       *topicsModel
	id      uint64
	far     *far
	steps   *steps
	subs    *fanout.Subscriber
	joined  map[string]bool
	want    []string // own and published, in their order
	mine    int      // messages of its own that were published while it was subscribed: they may count as missed
	closing bool     // nothing more joins
	whole   bool     // it was closed in order, and got all its messages
	behind  []error
}

func newTopicsModel(t *testing.T, flags byte) *topicsModel {
	m := &topicsModel{t: t, log: make(map[string][]posted)}
	m.cfg = fanout.Config{DeflateFrom: 100}
	if flags&1 != 0 {
		m.cfg.MaxMessages = 4
	}
	if flags&2 != 0 {
		m.cfg.MaxBytes = 1000
	}
	if flags&4 != 0 {
		m.cfg.HistoryMessages, m.cfg.HistoryAge = 3, topicsAge
	}
	m.cfg.Deflate = flags&8 != 0
	m.hub = fanout.New(m.cfg)
	for id := range uint64(3) {
		p := &topicsPeer{m: m, id: id + 1, joined: make(map[string]bool), whole: true}
		server, peer := memory(t, 1<<20)
		p.steps = &steps{Conn: server, grants: make(chan int, 1), closed: make(chan struct{})}
		p.steps.grants <- 1 << 20 // the handshake
		cfg := usual()
		cfg.Order = m.hub.Order
		p.owner, p.far = connect(t, p.steps, peer, cfg, link.Negotiation{Compression: m.cfg.Deflate && id > 0}, nil)
		p.slow = p.fallsBehind
		p.subs = m.hub.NewSubscriber(-1, p.id, p.Compresses(), p)
		m.peers = append(m.peers, p)
	}
	return m
}

// Wake implements [fanout.Target].
func (p *topicsPeer) Wake(c *fanout.Cursor) { p.Conn.Wake(c) }

// fallsBehind notes that the peer is a slow consumer.
func (p *topicsPeer) fallsBehind(err error) {
	p.behind = append(p.behind, err)
}

// do does one operation, and waits until its consequences have happened.
func (m *topicsModel) do(what, how byte) {
	p := m.peers[what>>4%3]
	topic := string('a' + rune(how%3))
	switch what & 15 {
	case 0:
		m.publish(topic, 0, how)
	case 10:
		m.publish(topic, p.id, how)
	case 1:
		p.join(topic, -1)
	case 2:
		p.join(topic, int(how/3)%8)
	case 3:
		p.leave(topic)
	case 4:
		p.send(how)
	case 6:
		p.close(link.CloseFrame{Code: 1000})
	case 7:
		p.cut()
	case 8:
		p.Ping()
	case 9:
		time.Sleep(topicsAge * time.Duration(how) / 200)
	default:
		p.steps.grant(int(how), 1+int(how)%7)
	}
	synctest.Wait()
	m.settle()
}

// message returns the next message. Some are long enough to be compressed.
func (m *topicsModel) message(topic string, how byte) string {
	m.n++
	return fmt.Sprintf("%s %d %s", topic, m.n, strings.Repeat("x", int(how)))
}

func (m *topicsModel) publish(topic string, sender uint64, how byte) {
	text := m.message(topic, how)
	for _, p := range m.peers {
		switch {
		case !p.joined[topic]:
		case p.id == sender:
			p.mine++
		default:
			p.want = append(p.want, text)
		}
	}
	seq, err := m.hub.Publish(topic, wire.Fin|wire.Text, []byte(text), sender)
	if err != nil {
		m.t.Fatalf("Publish: %v", err)
	}
	m.log[topic] = append(m.log[topic], posted{seq, sender, text, 2 * wire.FrameSize(len(text)), time.Now()})
}

// settle notes the peers that were found too slow.
func (m *topicsModel) settle() {
	for _, p := range m.peers {
		if len(p.behind) > 0 && p.whole {
			p.whole, p.closing = false, true
			clear(p.joined)
		}
	}
}

// join subscribes, and asks for back messages of the topic, or none if back is -1.
func (p *topicsPeer) join(topic string, back int) {
	log := p.m.log[topic]
	since := uint64(0)
	if n := len(log); back >= 0 && n > 0 {
		since = log[max(0, n-1-back)].seq
	}
	opened, complete := 0, false
	err := p.Listen(func() (link.Source, error) {
		var c *fanout.Cursor
		if since == 0 {
			c, _ = p.subs.Join(topic)
		} else {
			c, complete, _ = p.subs.Since(topic, since)
		}
		if c == nil {
			return nil, nil
		}
		p.m.cursors = append(p.m.cursors, c)
		opened = 1 + c.Pending()
		return c, nil
	})
	if p.closing != (err != nil) || opened == 0 != (p.closing || p.joined[topic]) {
		p.m.t.Fatalf("Listen: %v, opened: %v; closing: %v, on it already: %v", err, opened > 0, p.closing, p.joined[topic])
	}
	if opened == 0 {
		return
	}
	p.joined[topic] = true
	p.gets(topic, since, opened-1, complete)
}

// gets expects the last pending messages of the topic. If complete, these are all messages after since.
func (p *topicsPeer) gets(topic string, since uint64, pending int, complete bool) {
	log := p.m.log[topic]
	var others []posted
	for _, e := range log {
		if e.sender != p.id && e.seq > since {
			others = append(others, e)
		}
	}
	if since == 0 {
		others = nil
	}
	if pending > len(others) || complete && pending != len(others) {
		p.m.t.Fatalf("%d messages of %s are pending, complete: %v, want %d", pending, topic, complete, len(others))
	}
	if since != 0 && !complete && p.m.keeps(log, since) {
		p.m.t.Fatalf("%d messages of %s are pending, want all %d, which history has", pending, topic, len(others))
	}
	for _, e := range others[len(others)-pending:] {
		p.want = append(p.want, e.text)
	}
}

// keeps reports whether history has to have all messages with larger numbers than since. It has to have the one with this
// number too: a topic that was empty meanwhile does not know its earlier messages.
func (m *topicsModel) keeps(log []posted, since uint64) bool {
	n, size := 0, 0
	for _, e := range log {
		switch {
		case e.seq < since:
			continue
		case time.Since(e.at) >= m.cfg.HistoryAge:
			return false
		case e.seq > since:
			n++
			size += e.size
		}
	}
	return n <= m.cfg.HistoryMessages && (m.cfg.MaxBytes == 0 || size <= m.cfg.MaxBytes)
}

func (p *topicsPeer) leave(topic string) {
	err := p.Unlisten(func() link.Source {
		if c := p.subs.Leave(topic); c != nil {
			return c
		}
		return nil
	})
	if p.closing != (err != nil) {
		p.m.t.Fatalf("Unlisten: %v; closing: %v", err, p.closing)
	}
	delete(p.joined, topic)
}

// send queues a message of the connection's own.
func (p *topicsPeer) send(how byte) {
	text := p.m.message("", how)
	if err := p.Send(wire.Fin|wire.Text, []byte(text), false); p.closing != (err != nil) {
		p.m.t.Fatalf("Send: %v; closing: %v", err, p.closing)
	}
	if !p.closing {
		p.want = append(p.want, text)
	}
}

func (p *topicsPeer) close(f link.CloseFrame) {
	if ok := p.Close(f); ok == p.closing {
		p.m.t.Fatalf("Close: %v; closing: %v", ok, p.closing)
	}
	p.closing = true
	clear(p.joined)
}

func (p *topicsPeer) cut() {
	p.Cut()
	p.whole, p.closing = false, true
	clear(p.joined)
}

// end lets everything be written and everyone end, and compares.
func (m *topicsModel) end() {
	for _, p := range m.peers {
		p.steps.finish(50)
		if !p.closing {
			p.close(link.CloseFrame{Code: 1000})
		}
		p.steps.finish(50)
		all := p.read()
		p.Cut()
		<-p.done
		m.settle()
		p.check(all)
	}
	time.Sleep(2 * topicsAge)
	synctest.Wait()
	for name := range m.hub.Topics() {
		m.t.Errorf("the hub holds topic %s in the end, want none", name)
	}
	for i, c := range m.cursors {
		if !c.Drained() {
			m.t.Errorf("subscription %d of %d is not over in the end", i, len(m.cursors))
		}
	}
	m.hub.Close()
}

// read reads everything that came. It answers a close frame, unless the connection was cut after it.
func (p *topicsPeer) read() (all []got) {
	for {
		h, payload, err := p.far.frame()
		if err != nil {
			return all
		}
		all = append(all, newGot(h, payload))
		if h.Opcode() == wire.Close {
			p.far.nc.Write(masked(h.First, payload))
		}
	}
}

// check compares the messages that the peer got with those that it had to get.
func (p *topicsPeer) check(all []got) {
	var texts []string
	for _, g := range all {
		switch {
		case g.control():
		case g.first&wire.RSV1 != 0:
			texts = append(texts, inflated(p.m.t, g.data))
		default:
			texts = append(texts, g.data)
		}
	}
	total, mine := len(texts)+p.Undelivered(), 0
	if len(p.behind) > 0 {
		mine = p.mine // the senders of messages that the log has dropped are not known
	}
	if total < len(p.want) || total > len(p.want)+mine || p.whole && len(texts) != len(p.want) {
		p.m.t.Errorf("peer %d: %d messages came, %d are said to be undelivered, want %d to %d together, whole: %v",
			p.id, len(texts), p.Undelivered(), len(p.want), len(p.want)+mine, p.whole)
	}
	for _, topic := range []string{"a", "b", "c"} {
		had, want := merged(texts, topic), merged(p.want, topic)
		if p.whole && !slices.Equal(had, want) || !subsequence(had, want) ||
			!prefix(only(had, topic), only(want, topic)) || !prefix(only(had, " "), only(want, " ")) {
			p.m.t.Fatalf("peer %d, own messages and those of %s: %s", p.id, topic, differ(had, want))
		}
	}
	p.checkBehind()
}

// checkBehind checks that the peer was found too slow once at the most, and with reason.
func (p *topicsPeer) checkBehind() {
	if len(p.behind) == 0 {
		return
	}
	var b *fanout.BehindError
	cfg := &p.m.cfg
	if len(p.behind) > 1 || !errors.As(p.behind[0], &b) ||
		(b.Bound != fanout.Messages || cfg.MaxMessages == 0 || b.Messages <= cfg.MaxMessages) && (b.Bound != fanout.Bytes || cfg.MaxBytes == 0) {
		p.m.t.Errorf("peer %d is told that it is behind: %v, want a reason in the bounds of %d messages, %d bytes", p.id, p.behind, cfg.MaxMessages, cfg.MaxBytes)
	}
}
