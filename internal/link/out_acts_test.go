package link_test

// The events in the scripts of TestOutInOrder.

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// step does something from outside of any write, and checks the link.
func (m *outModel) step() {
	m.left = 10
	switch m.r.IntN(8) {
	case 0, 1:
		m.p.room = m.r.IntN(20) * m.r.IntN(20)
		m.p.writable()
	case 2:
		m.read()
	case 3:
		time.Sleep(time.Millisecond) // until the wait of held replies ends
		synctest.Wait()
	case 4:
		m.now += time.Duration(m.r.IntN(3)) * time.Second / 2
	default:
		m.act()
	}
	m.check()
}

// meanwhile does things that happen during a write.
func (m *outModel) meanwhile() {
	for range min(m.left, m.r.IntN(3)) {
		m.left--
		m.act()
	}
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

// act does something that any goroutine may do at any time.
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
		m.b.leave(m.o.Conn, topic)
	case 20, 21:
		m.sent++
		m.o.Ping()
	case 22, 23, 24, 25, 26, 27:
		m.ping()
		if !m.p.busy && !m.turning {
			m.read()
		}
	case 28, 29:
		m.arrive(wire.Fin|wire.Text, strings.Repeat("y", m.r.IntN(100)))
	case 30:
		m.arrive(wire.Text, "fragments")
		m.ping()
		m.arrive(wire.Fin|wire.Continuation, "end")
	case 31, 32:
		if f := m.feeds[topic]; f != nil {
			m.o.Wake(f)
		}
	case 33:
		if m.r.IntN(6) == 0 {
			m.b.forget(topic)
			if f := m.feeds[topic]; f != nil && m.r.IntN(2) == 0 {
				m.o.Wake(f)
			}
		}
	case 34:
		if m.r.IntN(10) == 0 {
			m.o.Close(link.CloseFrame{Code: 1000, DropStalled: m.r.IntN(2) == 0, DropSources: m.r.IntN(3) == 0})
		}
	case 35:
		m.rare(m.r.IntN(80))
	}
}

func (m *outModel) send() {
	text := m.message("")
	m.want = append(m.want, text)
	if m.bounded {
		m.left = 0 // Send may write before it queues: messages that were queued meanwhile would come first
	}
	err := m.o.Send(wire.Fin|wire.Text, []byte(text), false)
	if err != nil {
		at := slices.Index(m.want, text)
		m.want = slices.Delete(m.want, at, at+1)
	}
	if err == link.ErrClosed && m.phase() == life.Open && !m.p.failed && !m.p.reset && !m.fallen() {
		m.fatalf("Send: %v", err)
	}
}

func (m *outModel) publish(topic string) {
	text := m.message(topic)
	m.b.publish(topic, text)
	if f := m.feeds[topic]; f != nil {
		if !f.ended && !f.gone {
			m.want = append(m.want, text)
		}
		if m.r.IntN(4) > 0 {
			m.o.Wake(f)
		}
	}
}

// join listens to a topic, now and then with its earlier messages.
func (m *outModel) join(topic string) {
	back := m.r.IntN(3) * m.r.IntN(2)
	f, err := m.b.joinWith(m.o.Conn, topic, back, func(f *feed) {
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

// arrive has the peer send a frame.
func (m *outModel) arrive(first byte, payload string) {
	m.p.in = append(m.p.in, masked(first, []byte(payload))...)
}

// ping has the peer ping.
func (m *outModel) ping() {
	m.n++
	text := fmt.Sprintf("%d %s", m.n, strings.Repeat("p", m.r.IntN(110)))
	m.pings = append(m.pings, text)
	m.arrive(wire.Fin|wire.Ping, text)
}

// rare ends the connection in another way, if way is one of those here.
func (m *outModel) rare(way int) {
	switch way {
	case 0:
		m.o.Cut()
	case 1:
		m.p.eof = true
	case 2:
		m.p.failed = true
	case 3:
		m.p.reset = true
	case 4:
		m.arrive(wire.Fin|wire.Close, "\x03\xe8")
		m.p.eof = m.r.IntN(2) == 0
	case 5:
		m.broke = true
		m.arrive(wire.Fin|wire.Close, "\x03\xe8\xff") // a reason that is not UTF-8
	case 6:
		m.broke = true
		m.arrive(wire.Fin|3, "") // no opcode
	case 7:
		m.o.apply(life.Drain, link.CloseFrame{Code: 1001})
	case 8:
		m.o.apply(life.Starve, link.CloseFrame{})
	case 9:
		m.o.apply(life.Expire, link.CloseFrame{Code: 1008, DropStalled: true})
	}
}
