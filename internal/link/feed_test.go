package link_test

// Published frames between a connection's own: their order wherever a write stops, and what is lost with an end.

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// board is what messages are published to: topics whose messages share one order.
type board struct {
	order  atomic.Uint64
	most   int // frames that a Peek returns at the most
	mu     sync.Mutex
	topics map[string]*topic
}

type topic struct {
	name  string
	posts []post
	first int // those below are not kept any more
}

type post struct {
	seq   uint64
	frame []byte
}

func newBoard() *board { return &board{most: 3, topics: make(map[string]*topic)} }

// config is usual, with the board's order.
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

// forget drops all that a topic has.
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
}

var errBehind = errors.New("behind")

// open returns a feed that begins so many messages before what is published next.
func (b *board) open(name string, back int) *feed {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topicLocked(name)
	return &feed{b: b, t: t, next: max(0, len(t.posts)-back)}
}

// join lets a link listen to a topic.
func (b *board) join(s *side, name string, back int) (f *feed, err error) {
	return b.joinWith(s.Conn, name, back, func(*feed) {})
}

// joinWith does so, and calls opened with the feed before anything of it is written.
func (b *board) joinWith(c *link.Conn, name string, back int, opened func(*feed)) (f *feed, err error) {
	err = c.Listen(name, -1, "", func() link.Feed {
		f = b.open(name, back)
		opened(f)
		return f
	})
	return f, err
}

func (f *feed) limit() int {
	if f.ended {
		return f.end
	}
	return len(f.t.posts)
}

func (f *feed) lost() bool { return !f.gone && f.next < min(f.t.first, f.limit()) }

func (f *feed) Topic() string { return f.t.name }

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
			p = slices.Clip(f.t.posts[i].frame) // as a log gives its own memory
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

func (f *feed) Lost() bool {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.lost()
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
	f.gone = true
}

func (f *feed) Drained() bool {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.gone
}

// steps is a net.Conn of which each write takes as many bytes as it is granted, and waits for that.
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
func stepwise(t *testing.T, cfg link.Config) (*side, *far, *steps) {
	t.Helper()
	server, peer := memory(t, 1<<20)
	st := &steps{Conn: server, grants: make(chan int, 1), closed: make(chan struct{})}
	st.grants <- 1 << 20 // the handshake
	s, f := connect(t, st, peer, cfg, link.Negotiation{}, nil)
	return s, f, st
}

// grant lets n bytes be written, some in a write, and reports whether anybody wanted to.
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

// finish lets all be written, some bytes at a time.
func (s *steps) finish(some int) {
	for s.grant(some, some) {
	}
}

// texts are the payloads of data frames.
func texts(all []got) (texts []string) {
	for _, g := range all {
		if !g.control() {
			texts = append(texts, g.data)
		}
	}
	return texts
}

// send queues a text.
func (s *side) text(t testing.TB, text string) {
	t.Helper()
	if err := s.Send(wire.Fin|wire.Text, []byte(text), false); err != nil {
		t.Fatalf("Send %q: %v", text, err)
	}
}

// TestControlBetweenFeeds pings after each number of bytes of own and published frames that take turns.
func TestControlBetweenFeeds(t *testing.T) {
	t.Parallel()
	script := []string{"own 1", "pub 1", "pub 2", "own 2", "own 3", "pub 3", "own 4", "pub 4"}
	var ends []int
	total := 0
	for _, text := range script {
		total += wire.FrameSize(len(text))
		ends = append(ends, total)
	}
	for k := range total {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				s, f, st := stepwise(t, b.config())
				if _, err := b.join(s, "a", 0); err != nil {
					t.Fatal(err)
				}
				for _, text := range script {
					if strings.HasPrefix(text, "own") {
						s.text(t, text)
					} else {
						b.publish("a", text)
					}
					synctest.Wait()
				}
				st.grant(k, 1)
				s.Ping()
				s.Ping()
				st.finish(1)
				s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
				st.finish(100)
				all := f.until()
				if got := texts(all); !slices.Equal(got, script) {
					t.Fatalf("got %q, want %q", got, script)
				}
				// The write that was on its way took one byte more.
				want, _ := slices.BinarySearch(ends, k+1)
				at := slices.Index(all, got{wire.Fin | wire.Ping, ""})
				if at != want+1 || all[at+1] != all[at] {
					t.Errorf("the pings come behind %d frames, want them behind %d: %v", at, want+1, all)
				}
			})
		})
	}
}

// pinged has the peer ping, and a pong of its size queued.
func pinged(f *far, size int) {
	f.send(masked(wire.Fin|wire.Ping, make([]byte, size)))
	synctest.Wait()
}

// TestControlAroundTheFirstFeed has a pong on its way when the link begins to listen, one behind it, and a longer one after
// each number of bytes.
func TestControlAroundTheFirstFeed(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 3, 40}
	for k := range 30 {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				b.most = 1
				s, f, st := stepwise(t, b.config())
				pinged(f, sizes[0])
				if _, err := b.join(s, "a", 0); err != nil {
					t.Fatal(err)
				}
				pinged(f, sizes[1])
				b.publish("a", "pub 1")
				b.publish("a", "pub 2")
				s.text(t, "own 1")
				st.grant(k, 1)
				pinged(f, sizes[2])
				st.finish(1)
				s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
				st.finish(100)
				all := f.until()
				if got, want := texts(all), []string{"pub 1", "pub 2", "own 1"}; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				for i, size := range sizes {
					if pong := (got{wire.Fin | wire.Pong, string(make([]byte, size))}); !slices.Contains(all, pong) {
						t.Errorf("pong %d is missing: got %v", i, all)
					}
				}
			})
		})
	}
}

// TestPingsDoNotStarveFeeds has a ping arrive during each write: between the pongs what is published goes on, and what is
// queued behind it.
func TestPingsDoNotStarveFeeds(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own data=%v", own), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				s, f, st := stepwise(t, b.config())
				if _, err := b.join(s, "a", 0); err != nil {
					t.Fatal(err)
				}
				pinged(f, 10)
				want := []string{"pub"}
				b.publish("a", "pub")
				if own {
					s.text(t, "own")
					want = append(want, "own")
				}
				const rounds = 50
				for range rounds {
					pinged(f, 10)
					st.grant(1<<10, 1<<10)
				}
				s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
				st.finish(1 << 10)
				all := f.until()
				if got := texts(all); !slices.Equal(got, want) {
					t.Fatalf("got %q, want %q", got, want)
				}
				last := newGot(wire.Header{First: wire.Fin | wire.Text}, []byte(want[len(want)-1]))
				if at := slices.Index(all, last); at > 3*len(want) {
					t.Errorf("%v comes behind %d frames of %d rounds of pings, want it behind %d at the most", last, at, rounds, 3*len(want))
				}
			})
		})
	}
}

// TestPingsTakeNoMemory has a ping arrive during each write, of frames that take turns with published ones.
func TestPingsTakeNoMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		s, f, st := stepwise(t, b.config())
		if _, err := b.join(s, "a", 0); err != nil {
			t.Fatal(err)
		}
		const count, size = 100, 120
		pinged(f, size)
		queued := 0
		for range count {
			b.publish("a", "pub")
			s.text(t, "own")
			queued += wire.FrameSize(len("own"))
		}
		largest := 0
		for range 4 * count {
			pinged(f, size)
			st.grant(1<<10, 1<<10)
			largest = max(largest, s.Writing())
		}
		if most := queued + 2*wire.FrameSize(size); largest > most {
			t.Errorf("%d bytes are held for %d of own frames, want %d at the most", largest, queued, most)
		}
		s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
		st.finish(1 << 10)
		if got := texts(f.until()); len(got) != 2*count {
			t.Errorf("got %d messages, want %d", len(got), 2*count)
		}
	})
}

// TestBehindDuringAWrite has a connection fall behind after each number of bytes, while frames of the feed are being written.
func TestBehindDuringAWrite(t *testing.T) {
	t.Parallel()
	script := []string{"1", "22", "333", "4444", "55555"}
	total := 0
	for _, text := range script {
		total += wire.FrameSize(len(text))
	}
	for k := range total - wire.FrameSize(len("55555")) + 1 { // behind that the last has been taken
		for _, written := range []int{0, 1, 5, total} {
			t.Run(fmt.Sprint(k, " ", written), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBoard()
					s, f, st := stepwise(t, b.config())
					var told []error
					s.slow = func(err error) {
						told = append(told, err)
						if _, err := b.join(s, "b", 0); err != link.ErrClosed {
							t.Errorf("Listen on a connection that has fallen behind: %v, want ErrClosed", err)
						}
						if err := s.Send(wire.Fin|wire.Text, []byte("behind a gap"), true); err != link.ErrClosed {
							t.Errorf("Send on a connection that has fallen behind: %v, want ErrClosed", err)
						}
						if err := s.Unlisten("a"); err != link.ErrClosed {
							t.Errorf("Unlisten on a connection that has fallen behind: %v, want ErrClosed", err)
						}
						s.CloseWith(link.CloseFrame{Code: 1013, Behind: true, Half: true})
					}
					a, err := b.join(s, "a", 0)
					if err != nil {
						t.Fatal(err)
					}
					for _, text := range script {
						b.publish("a", text)
					}
					s.WakeFeed(a)
					st.grant(k, 3)
					b.forget("a")
					s.WakeFeed(a)
					st.grant(written, max(written, 1))
					st.finish(100)
					got := texts(f.until())
					s.Cut()
					<-s.done
					if !prefix(got, script) || len(got)+s.Undelivered() != len(script) {
						t.Errorf("got %q and %d undelivered, want %d together", got, s.Undelivered(), len(script))
					}
					if got := s.Topics(); !slices.Equal(got, []string{"a"}) {
						t.Errorf("Topics() = %q, want a, which it was on", got)
					}
					if !slices.Equal(told, []error{errBehind}) {
						t.Errorf("Slow is told %v, want %v", told, errBehind)
					}
				})
			})
		}
	}
}

// TestBehindBetweenWrites has it noticed by whoever writes, whose next write then waits.
func TestBehindBetweenWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		s, f, st := stepwise(t, b.config())
		told := make(chan error, 1)
		s.slow = func(err error) {
			told <- err
			s.CloseWith(link.CloseFrame{Code: 1013, Behind: true, Half: true})
		}
		s.text(t, "own 1") // which is being written
		if _, err := b.join(s, "a", 0); err != nil {
			t.Fatal(err)
		}
		b.publish("a", "pub")
		b.forget("a")
		s.text(t, "own 2")
		st.grant(100, 100)
		select {
		case err := <-told:
			if err != errBehind {
				t.Errorf("Slow is told %v, want %v", err, errBehind)
			}
		default:
			t.Error("Slow is told nothing while a write waits, want it told at once")
		}
		st.finish(100)
		if got, want := texts(f.until()), []string{"own 1", "own 2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func prefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// TestFeedsTakeTurns has a topic with a long backlog, and one with a message.
func TestFeedsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		s, f, st := stepwise(t, b.config())
		s.text(t, "first") // which is being written
		for _, name := range []string{"busy", "quiet"} {
			if _, err := b.join(s, name, 0); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			b.publish("busy", "busy")
		}
		b.publish("quiet", "quiet")
		s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
		st.finish(100)
		got := texts(f.until())
		if at := slices.Index(got, "quiet"); len(got) != 22 || at < 0 || at > 1+2*b.most {
			t.Errorf("the quiet topic's message comes as number %d of %d, want it behind a few", at, len(got))
		}
	})
}

// spied is a net.Conn that tells where what it is to write begins.
type spied struct {
	net.Conn
	seen map[*byte]bool
}

func (s *spied) Write(p []byte) (int, error) {
	s.seen[&p[0]] = true
	return s.Conn.Write(p)
}

// TestRestOfAFrame has a peer stop within a frame. What a slow peer lacks is the log's to keep, not the connection's.
func TestRestOfAFrame(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				server, peer := memory(t, 1<<20)
				st := &steps{Conn: server, grants: make(chan int, 1), closed: make(chan struct{})}
				st.grants <- 1 << 20 // the handshake
				spy := &spied{Conn: st, seen: make(map[*byte]bool)}
				s, f := connect(t, spy, peer, b.config(), link.Negotiation{}, nil)
				a, err := b.join(s, "a", 0)
				if err != nil {
					t.Fatal(err)
				}
				b.publish("a", strings.Repeat("x", size))
				s.WakeFeed(a)
				const part = 10
				st.grant(part, part)
				frame := b.topics["a"].posts[0].frame
				if got, want := spy.seen[&frame[part]], size > 16<<10; got != want {
					t.Errorf("the rest is written from the log's memory: %v, want %v", got, want)
				}
				s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
				st.finish(10 << 10)
				if got := texts(f.until()); len(got) != 1 || len(got[0]) != size {
					t.Errorf("got %d messages, want one of %d bytes", len(got), size)
				}
			})
		})
	}
}
