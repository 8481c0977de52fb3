package link_test

// The topics that links listen to in tests, and connections on which a test grants each write its bytes.

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// board is a set of topics whose messages share one order.
type board struct {
	order  atomic.Uint64
	most   int // frames that a Peek returns at the most
	mu     sync.Mutex
	topics map[string]*topic
	joined map[place]*feed // guarded by the links' locks
}

type topic struct {
	name  string
	posts []post
	first int // the first post that is still kept
}

type post struct {
	seq   uint64
	frame []byte
}

func newBoard() *board {
	return &board{most: 3, topics: make(map[string]*topic), joined: make(map[place]*feed)}
}

// config returns the usual Config with the board's order.
func (b *board) config() link.Config {
	cfg := usual()
	cfg.Order = b.order.Load
	return cfg
}

// publish appends a text to a topic, and wakes nobody.
func (b *board) publish(name, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topicLocked(name)
	t.posts = append(t.posts, post{b.order.Add(1), wire.AppendFrame(nil, wire.Fin|wire.Text, []byte(text))})
}

func (b *board) topicLocked(name string) *topic {
	if b.topics[name] == nil {
		b.topics[name] = &topic{name: name}
	}
	return b.topics[name]
}

// forget drops all messages of a topic.
func (b *board) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topicLocked(name)
	t.first = len(t.posts)
}

// feed is a place in a topic.
type feed struct {
	b     *board
	t     *topic
	next  int
	end   int
	ended bool
	gone  bool
	given bool // up, with messages pending
}

var errBehind = errors.New("behind")

// open returns a feed that begins back messages before the next one to be published.
func (b *board) open(name string, back int) *feed {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topicLocked(name)
	return &feed{b: b, t: t, next: max(0, len(t.posts)-back)}
}

// join lets a link listen to a topic.
func (b *board) join(o *owner, name string, back int) (f *feed, err error) {
	return b.joinWith(o.Conn, name, back, func(*feed) {})
}

// joinWith does as join does, and calls opened with the feed before any of its messages is written.
func (b *board) joinWith(c *link.Conn, name string, back int, opened func(*feed)) (f *feed, err error) {
	err = c.Listen(func() (link.Source, error) {
		if b.on(c, name) != nil {
			return nil, nil // it is on it already
		}
		f = b.open(name, back)
		b.joined[place{c, name}] = f
		opened(f)
		return f, nil
	})
	return f, err
}

// place is a topic that a link may listen to.
type place struct {
	c    *link.Conn
	name string
}

// on returns the feed by which a link listens to a topic, nil if it does not.
func (b *board) on(c *link.Conn, name string) *feed {
	if f := b.joined[place{c, name}]; f != nil && !f.ended && !f.gone {
		return f
	}
	return nil
}

// leave ends a link's feed of a topic, if there is one.
func (b *board) leave(c *link.Conn, name string) error {
	return c.Unlisten(func() link.Source {
		if f := b.on(c, name); f != nil {
			return f
		}
		return nil
	})
}

func (f *feed) limit() int {
	if f.ended {
		return f.end
	}
	return len(f.t.posts)
}

func (f *feed) lost() bool { return !f.gone && f.next < min(f.t.first, f.limit()) }

func (f *feed) Peek(upto uint64) (p []byte, err error) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	if f.gone {
		return nil, nil
	}
	if f.lost() {
		return nil, errBehind
	}
	for i := f.next; i < min(f.limit(), f.next+f.b.most) && f.t.posts[i].seq <= upto; i++ {
		if p == nil {
			p = slices.Clip(f.t.posts[i].frame) // a log hands out its own memory
		} else {
			p = append(p, f.t.posts[i].frame...)
		}
	}
	return p, nil
}

func (f *feed) Skip(n int) (end int) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	for ; end < n; f.next++ {
		end += len(f.t.posts[f.next].frame)
	}
	f.gone = f.gone || f.ended && f.next == f.end
	return end
}

func (f *feed) Pending() int {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	if f.gone {
		return 0
	}
	return f.limit() - f.next
}

func (f *feed) End() {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.ended, f.end = true, len(f.t.posts)
	f.gone = f.gone || f.next == f.end
}

func (f *feed) Drop() {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.given = f.given || !f.gone && f.next < f.limit()
	f.gone = true
}

func (f *feed) Drained() bool {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.gone
}

// steps is a net.Conn whose every write waits for a grant, and writes as many bytes as it is granted.
type steps struct {
	net.Conn
	grants chan int
	closed chan struct{}
	once   sync.Once
}

func (s *steps) Write(p []byte) (int, error) {
	select {
	case n := <-s.grants:
		return s.Conn.Write(p[:min(n, len(p))])
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *steps) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// stepwise returns a link whose writes are granted one by one. It has to be in a bubble.
func stepwise(t *testing.T, cfg link.Config) (*owner, *far, *steps) {
	t.Helper()
	server, peer := memory(t, 1<<20)
	st := &steps{Conn: server, grants: make(chan int, 1), closed: make(chan struct{})}
	st.grants <- 1 << 20 // the handshake
	o, f := connect(t, st, peer, cfg, link.Negotiation{}, nil)
	return o, f, st
}

// grant lets n bytes be written, at most some in a write. It reports false if no write waits for the rest.
func (s *steps) grant(n, some int) bool {
	for n > 0 {
		synctest.Wait()
		select {
		case s.grants <- min(n, some):
		default:
			return false
		}
		synctest.Wait()
		if len(s.grants) > 0 {
			<-s.grants
			return false
		}
		n -= some
	}
	return true
}

// finish lets everything be written, some bytes at a time.
func (s *steps) finish(some int) {
	for s.grant(some, some) {
	}
}

// text queues a text.
func (o *owner) text(t testing.TB, text string) {
	t.Helper()
	if err := o.Send(wire.Fin|wire.Text, []byte(text), false); err != nil {
		t.Fatalf("Send %q: %v", text, err)
	}
}
