package link_test

// The owner is told how the writing has ended: once, by the goroutine that writes, and before Done.

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

// gate is a poll.Socket whose writes wait for the test, in a bubble.
type gate struct {
	begun   chan []byte
	results chan error // of the write that waits: nil if it accepts all

	mu     sync.Mutex
	out    []byte
	ended  bool
	closed bool
}

func (g *gate) Start(bool)               {}
func (g *gate) HungUp() bool             { return false }
func (g *gate) Unsent() int              { return -1 }
func (g *gate) Read([]byte) (int, error) { return 0, poll.ErrWouldBlock }
func (g *gate) WantWrite() bool          { return false }

func (g *gate) Abandon(time.Duration) error { return g.Close() }

func (g *gate) Write(p []byte) (int, error) {
	g.begun <- p
	if err := <-g.results; err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = append(g.out, p...)
	return len(p), nil
}

func (g *gate) CloseWrite() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	return nil
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return nil
}

// gated is an owner that a test can stop while it is told something.
type gated struct {
	*owner
	g     *gate
	tells chan struct{} // nil: it does not stop
}

func (o *gated) CloseWritten() { o.stop(); o.owner.CloseWritten() }
func (o *gated) WriteFailed()  { o.stop(); o.owner.WriteFailed() }
func (o *gated) Slow(err error) {
	o.stop()
	o.owner.Slow(err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		o.t.Error("Slow returns after Done, want Done to wait for it")
	}
}

func (o *gated) stop() {
	if o.tells != nil {
		<-o.tells
	}
}

// inGate runs a test of a link whose writes wait for the test.
func inGate(t *testing.T, test func(t *testing.T, o *gated)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &gated{owner: newOwner(t), g: &gate{begun: make(chan []byte), results: make(chan error)}}
		cfg := newBoard().config()
		o.Conn = link.NewConn(&cfg, o.g, o, &o.traffic, false)
		test(t, o)
	})
}

// begin runs f, and returns when it is in a write.
func (o *gated) begin(f func()) (done chan struct{}) {
	done = running(f)
	<-o.g.begun
	return done
}

// running runs f on a goroutine of its own, and returns a channel that is closed when it has returned.
func running(f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// waits checks that something does not end while nothing else happens.
func waits(t *testing.T, what string, done chan struct{}) {
	t.Helper()
	synctest.Wait()
	select {
	case <-done:
		t.Errorf("%s is over, want it to wait", what)
	default:
	}
}

func (o *gated) wantTold(t *testing.T, want string) {
	t.Helper()
	if got := o.wasTold(); got != want {
		t.Errorf("the owner is told %q, want %q", got, want)
	}
}

func (o *gated) send() {
	if err := o.Send(wire.Fin|wire.Text, []byte("own"), true); err != nil {
		o.t.Errorf("Send: %v", err)
	}
}

var errWrite = errors.New("write failed")

// TestCloseBesideAWrite queues the close frame while another goroutine writes: that one writes it, and tells.
func TestCloseBesideAWrite(t *testing.T) {
	for name, results := range map[string][]error{
		"both written":            {nil, nil},
		"the data fails":          {errWrite},
		"the close frame's fails": {nil, errWrite},
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, func(t *testing.T, o *gated) {
				sending := o.begin(o.send)
				if !o.Close(link.CloseFrame{Code: 1000}) {
					t.Error("Close = false, want true")
				}
				o.wantTold(t, "")
				for i, result := range results {
					if i > 0 {
						<-o.g.begun
						o.wantTold(t, "")
					}
					o.g.results <- result
				}
				<-sending
				want, lost := "CloseWritten", 0
				if err := results[len(results)-1]; err != nil {
					want = "WriteFailed"
				}
				if results[0] != nil {
					lost = 1
				}
				o.wantTold(t, want)
				if s := o.life.State(); s.Phase() != life.Closing || s.Sent() != (want == "CloseWritten") {
					t.Errorf("state %v after %s", s, want)
				}
				o.wantSilence(t)
				o.Cut()
				o.Conn.Done()
				if got := o.Undelivered(); got != lost {
					t.Errorf("Undelivered = %d, want %d", got, lost)
				}
			})
		})
	}
}

// wantSilence does all that might write, or tell. A write would never end.
func (o *gated) wantSilence(t *testing.T) {
	t.Helper()
	before := o.wasTold()
	o.Ping()
	o.HoldEnds()
	if err := o.Send(wire.Fin|wire.Text, nil, true); err != link.ErrClosed {
		t.Errorf("Send = %v, want %v", err, link.ErrClosed)
	}
	if o.Conn.Close(link.CloseFrame{Code: 1000}) {
		t.Error("Close = true, want false")
	}
	o.wantTold(t, before)
}

// TestCutBesideAWrite cuts the connection while another goroutine writes. Done waits for that.
func TestCutBesideAWrite(t *testing.T) {
	inGate(t, func(t *testing.T, o *gated) {
		sending := o.begin(o.send)
		o.Cut()
		if !o.g.closed {
			t.Error("the socket is open, want Cut to close it at once")
		}
		o.wantSilence(t)
		done := running(o.Conn.Done)
		waits(t, "Done", done)
		o.g.results <- net.ErrClosed
		<-sending
		<-done
		o.wantSilence(t)
		if got := o.Undelivered(); got != 1 {
			t.Errorf("Undelivered = %d, want 1", got)
		}
	})
}

// TestCutWhileRepliesAreHeld has the timer that ends their wait run late.
func TestCutWhileRepliesAreHeld(t *testing.T) {
	inGate(t, func(t *testing.T, o *gated) {
		o.Cut()
		o.HoldEnds()
		o.wantTold(t, "")
		o.Conn.Done()
		o.wantSilence(t)
	})
}

// TestDoneWaitsForWhoTells stops the owner in the call that tells it.
func TestDoneWaitsForWhoTells(t *testing.T) {
	for want, result := range map[string]error{"CloseWritten": nil, "WriteFailed": errWrite} {
		t.Run(want, func(t *testing.T) {
			inGate(t, func(t *testing.T, o *gated) {
				o.tells = make(chan struct{})
				closing := o.begin(func() { o.Close(link.CloseFrame{Code: 1000}) })
				o.g.results <- result
				waits(t, "Close", closing)
				done := running(func() { o.Cut(); o.Conn.Done() })
				waits(t, "Done", done)
				close(o.tells)
				<-closing
				<-done
				o.wantTold(t, want)
				if sent := o.life.State().Sent(); sent != (result == nil) {
					t.Errorf("the close frame is known to be written: %v, want %v", sent, result == nil)
				}
			})
		})
	}
	t.Run("Slow", func(t *testing.T) {
		inGate(t, func(t *testing.T, o *gated) {
			b := newBoard()
			o.tells = make(chan struct{})
			a, err := b.join(o.owner, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			b.publish("a", "pub")
			b.forget("a")
			waking := running(func() { o.Wake(a) })
			waits(t, "Wake", waking)
			done := running(func() { o.Cut(); o.Conn.Done() })
			waits(t, "Done", done)
			close(o.tells)
			<-waking
			<-done
		})
	})
}

// TestBothClose has each order of the peer's close frame and the word that ours is written.
func TestBothClose(t *testing.T) {
	for _, first := range []bool{false, true} {
		inOrder := map[bool]string{false: "ours is written first", true: "the peer's is read first"}[first]
		t.Run(inOrder, func(t *testing.T) {
			inGate(t, func(t *testing.T, o *gated) {
				closing := o.begin(func() { o.Close(link.CloseFrame{Code: 1000}) })
				read := func() { o.apply(life.PeerClose, link.CloseFrame{}) }
				if first {
					read()
				}
				if o.g.ended || o.g.closed {
					t.Error("the transport ends before the close frame is written")
				}
				o.g.results <- nil
				<-closing
				if !first {
					read()
				}
				if !o.g.ended || !o.g.closed {
					t.Errorf("with both close frames: the sending direction is ended: %v, the socket is closed: %v, want both", o.g.ended, o.g.closed)
				}
				o.Conn.Done()
			})
		})
	}
}
