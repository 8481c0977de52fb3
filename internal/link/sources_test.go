package link_test

// Published frames between a connection's own: their order wherever a write stops, and the messages that an end loses.

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// TestBehindDuringAWrite makes the connection too slow after each number of bytes, while frames of the feed are being written.
func TestBehindDuringAWrite(t *testing.T) {
	t.Parallel()
	script := []string{"1", "22", "333", "4444", "55555"}
	total := 0
	for _, text := range script {
		total += wire.FrameSize(len(text))
	}
	for k := range total - wire.FrameSize(len("55555")) + 1 { // after that the last has been read
		for _, written := range []int{0, 1, 5, total} {
			t.Run(fmt.Sprint(k, " ", written), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBoard()
					o, f, st := stepwise(t, b.config())
					var told []error
					o.slow = func(err error) {
						told = append(told, err)
						if _, err := b.join(o, "b", 0); err != link.ErrClosed {
							t.Errorf("Listen on a connection that has fallen behind: %v, want ErrClosed", err)
						}
						if err := o.Send(wire.Fin|wire.Text, []byte("behind a gap"), true); err != link.ErrClosed {
							t.Errorf("Send on a connection that has fallen behind: %v, want ErrClosed", err)
						}
						if err := b.leave(o.Conn, "a"); err != link.ErrClosed {
							t.Errorf("Unlisten on a connection that has fallen behind: %v, want ErrClosed", err)
						}
					}
					a, err := b.join(o, "a", 0)
					if err != nil {
						t.Fatal(err)
					}
					for _, text := range script {
						b.publish("a", text)
					}
					o.Wake(a)
					st.grant(k, 3)
					b.forget("a")
					o.Wake(a)
					st.grant(written, max(written, 1))
					st.finish(100)
					got := texts(f.until())
					o.Cut()
					<-o.done
					if !prefix(got, script) || len(got)+o.Undelivered() != len(script) {
						t.Errorf("got %q and %d undelivered, want %d together", got, o.Undelivered(), len(script))
					}
					if !slices.Equal(told, []error{errBehind}) {
						t.Errorf("Slow is told %v, want %v", told, errBehind)
					}
				})
			})
		}
	}
}

// In TestBehindBetweenWrites the writer notices that the connection is too slow. The next write then waits.
func TestBehindBetweenWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		o, f, st := stepwise(t, b.config())
		told := make(chan error, 1)
		o.slow = func(err error) { told <- err }
		o.text(t, "own 1") // which is being written
		if _, err := b.join(o, "a", 0); err != nil {
			t.Fatal(err)
		}
		b.publish("a", "pub")
		b.forget("a")
		o.text(t, "own 2")
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

// TestSourcesTakeTurns has a topic with a long backlog, and one with a single message.
func TestSourcesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		o, f, st := stepwise(t, b.config())
		o.text(t, "first") // which is being written
		for _, name := range []string{"busy", "quiet"} {
			if _, err := b.join(o, name, 0); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			b.publish("busy", "busy")
		}
		b.publish("quiet", "quiet")
		st.finish(100)
		o.Close(link.CloseFrame{Code: 1000})
		st.finish(100)
		got := texts(f.until())
		if at := slices.Index(got, "quiet"); len(got) != 22 || at < 0 || at > 1+2*b.most {
			t.Errorf("the quiet topic's message comes as number %d of %d, want it after a few", at, len(got))
		}
	})
}

// spied is a net.Conn that notes the address of the first byte of each write.
type spied struct {
	net.Conn
	seen map[*byte]bool
}

func (s *spied) Write(p []byte) (int, error) {
	s.seen[&p[0]] = true
	return s.Conn.Write(p)
}

// TestRestOfAFrame has a peer stop within a frame. The log keeps the messages that a slow peer lacks, not the connection.
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
				o, f := connect(t, spy, peer, b.config(), link.Negotiation{}, nil)
				a, err := b.join(o, "a", 0)
				if err != nil {
					t.Fatal(err)
				}
				b.publish("a", strings.Repeat("x", size))
				o.Wake(a)
				const part = 10
				st.grant(part, part)
				frame := b.topics["a"].posts[0].frame
				if got, want := spy.seen[&frame[part]], size > 16<<10; got != want {
					t.Errorf("the rest is written from the log's memory: %v, want %v", got, want)
				}
				o.Close(link.CloseFrame{Code: 1000})
				st.finish(10 << 10)
				if got := texts(f.until()); len(got) != 1 || len(got[0]) != size {
					t.Errorf("got %d messages, want one of %d bytes", len(got), size)
				}
			})
		})
	}
}
