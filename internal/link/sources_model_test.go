package link_test

// Random scripts of own and published messages, against a model of the messages that the peer has to get.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// TestSourcesInOrder runs random scripts, with writes of random sizes.
func TestSourcesInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				m := newSourcesModel(t, r)
				if seed%2 == 0 { // the pong is being written when the link first listens
					pinged(m.f, r.IntN(10))
					m.join("a")
				}
				for range 150 {
					m.step()
				}
				m.end()
			})
		})
	}
}

// sourcesModel knows the messages that the peer has to get.
type sourcesModel struct {
	t      *testing.T
	r      *rand.Rand
	b      *board
	o      *owner
	f      *far
	st     *steps
	joined map[string]*feed
	want   []string // own and published, in their order
	back   map[string]int
	n      int
	pings  int // how many there are, to 12 steps
}

var feedTopics = []string{"a", "b", "c"}

func newSourcesModel(t *testing.T, r *rand.Rand) *sourcesModel {
	m := &sourcesModel{t: t, r: r, b: newBoard(), joined: make(map[string]*feed), back: make(map[string]int)}
	m.b.most, m.pings = 1+r.IntN(4), 1+r.IntN(6)
	m.o, m.f, m.st = stepwise(t, m.b.config())
	m.o.slow = func(err error) {
		if err != errBehind {
			t.Errorf("Slow is told %v, want %v", err, errBehind)
		}
	}
	return m
}

// message returns a new message of a topic, or one of the connection's own for "".
func (m *sourcesModel) message(topic string) string {
	m.n++
	return fmt.Sprintf("%s %d %s", topic, m.n, strings.Repeat("x", m.r.IntN(20)*m.r.IntN(20)))
}

func (m *sourcesModel) step() {
	topic := feedTopics[m.r.IntN(len(feedTopics))]
	switch m.r.IntN(12 + m.pings) {
	case 0, 1, 2:
		text := m.message("")
		m.o.text(m.t, text)
		m.want = append(m.want, text)
	case 3, 4, 5:
		text := m.message(topic)
		m.b.publish(topic, text)
		if f := m.joined[topic]; f != nil {
			m.want = append(m.want, text)
			if m.r.IntN(4) > 0 {
				m.o.Wake(f)
			}
		}
	case 6:
		if m.joined[topic] == nil {
			m.join(topic)
		}
	case 7:
		delete(m.joined, topic)
		if err := m.b.leave(m.o.Conn, topic); err != nil {
			m.t.Fatalf("Unlisten: %v", err)
		}
	case 8, 9, 10, 11:
		m.st.grant(m.r.IntN(40), 1+m.r.IntN(10))
	default:
		if m.r.IntN(2) == 0 {
			m.o.Ping()
		} else {
			pinged(m.f, m.r.IntN(40))
		}
	}
}

// join listens to a topic, now and then with its earlier messages.
func (m *sourcesModel) join(topic string) {
	back := 0
	if m.r.IntN(2) == 0 {
		back = m.r.IntN(3)
	}
	f, err := m.b.join(m.o, topic, back)
	if err != nil {
		m.t.Fatalf("Listen: %v", err)
	}
	m.joined[topic] = f
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	posts := f.t.posts
	for _, p := range posts[max(0, len(posts)-back):] {
		h, n := wire.Parse(p.frame)
		m.want = append(m.want, string(p.frame[n:n+int(h.Length)]))
	}
}

// end ends the connection in one of its ways, and compares.
func (m *sourcesModel) end() {
	total := len(m.want)
	whole := false
	switch m.r.IntN(4) {
	case 0:
		whole = true
		m.o.Close(link.CloseFrame{Code: 1000})
		m.b.publish("a", "behind the close")
		m.st.finish(1 + m.r.IntN(200))
	case 1:
		m.o.Cut()
	case 2:
		for topic, f := range m.joined {
			m.b.forget(topic)
			m.o.Wake(f)
		}
		fallthrough // if it had all messages, it is still open
	case 3:
		m.o.Close(link.CloseFrame{Code: 1013, DropSources: true})
		m.st.finish(1 + m.r.IntN(200))
	}
	all := m.f.until()
	m.o.Cut()
	<-m.o.done
	got := texts(all)
	if len(got)+m.o.Undelivered() != total || whole && len(got) != total {
		m.t.Errorf("%d messages came, %d are said to be undelivered, want %d together", len(got), m.o.Undelivered(), total)
	}
	for _, topic := range feedTopics {
		had, want := merged(got, topic), merged(m.want, topic)
		if whole && !slices.Equal(had, want) || !subsequence(had, want) ||
			!prefix(only(had, topic), only(want, topic)) || !prefix(only(had, " "), only(want, " ")) {
			m.t.Fatalf("own messages and those of %s: %s", topic, differ(had, want))
		}
	}
}

// merged returns own messages and those of a topic.
func merged(texts []string, topic string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
		return !strings.HasPrefix(text, " ") && !strings.HasPrefix(text, topic)
	})
}

// only returns the texts that begin with with.
func only(texts []string, with string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !strings.HasPrefix(text, with) })
}

// differ shows the place at which two lists begin to differ.
func differ(got, want []string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("got %d, want %d; from %d on got %.15q, want %.15q", len(got), len(want), i,
		got[i:min(len(got), i+5)], want[i:min(len(want), i+5)])
}

// subsequence reports whether all of a is in b, in that order.
func subsequence(a, b []string) bool {
	for _, text := range b {
		if len(a) > 0 && a[0] == text {
			a = a[1:]
		}
	}
	return len(a) == 0
}
