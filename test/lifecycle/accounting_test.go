package lifecycle_test

// Every message that is sent arrives, or is reported as undelivered.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// numbered returns a message with its sender and its sequence number. The rest of its content follows from them.
func numbered(sender, seq, size int) hail.Message {
	b := make([]byte, 8, 8+size)
	binary.BigEndian.PutUint32(b, uint32(sender))
	binary.BigEndian.PutUint32(b[4:], uint32(seq))
	for i := range size {
		b = append(b, byte(sender*31+seq*7+i))
	}
	return hail.Binary(b)
}

// ledger checks that each sender's messages arrive whole, once and in order.
type ledger map[int]int // messages so far, by sender

func (l ledger) enter(t *testing.T, m hail.Message) {
	t.Helper()
	if len(m.Data) < 8 {
		t.Fatalf("got %q, want a numbered message", m)
	}
	sender, seq := int(binary.BigEndian.Uint32(m.Data)), int(binary.BigEndian.Uint32(m.Data[4:]))
	if seq != l[sender] {
		t.Fatalf("sender %d: got message %d, want %d", sender, seq, l[sender])
	}
	if want := numbered(sender, seq, len(m.Data)-8); !bytes.Equal(m.Data, want.Data) {
		t.Fatalf("sender %d, message %d: got other content", sender, seq)
	}
	l[sender]++
}

func (l ledger) total() (n int) {
	for _, k := range l {
		n += k
	}
	return n
}

// TestEverySendIsAccountedFor has 16 goroutines send to a peer that stalls.
func TestEverySendIsAccountedFor(t *testing.T) {
	t.Parallel()
	// Frames of 1 KiB: a write may end at the end of a frame.
	const senders, frame, queue = 16, 1 << 10, 200_000
	const size = frame - 4 - 8
	for name, tc := range map[string]struct {
		writeTimeout time.Duration
		end          func(p *hailtest.Peer, c *hail.Conn, s *hail.Server)
		cut          bool
	}{
		"the peer resumes":         {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Resume() }, false},
		"the peer resumes slowly":  {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.ReadSlowly(100_000, 200*time.Microsecond) }, false},
		"cut by WriteTimeout":      {100 * time.Millisecond, func(*hailtest.Peer, *hail.Conn, *hail.Server) {}, true},
		"cut by Server.Close":      {0, func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { s.Close() }, true},
		"closed while it stalls":   {100 * time.Millisecond, func(_ *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(4000, "") }, true},
		"closed before it resumes": {0, func(p *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(4000, ""); p.Resume() }, true},
		"shut down, out of time":   {0, func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { shutdownIn(s, 50*time.Millisecond) }, true},
		"the callback's error": {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) {
			p.Write(kit.Message([]byte("error")))
			p.Resume()
		}, true},
		"the callback's error, cut": {100 * time.Millisecond, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Write(kit.Message([]byte("error"))) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return errors.New("an error") }})
				s := &hail.Server{Handler: h, Options: hail.Options{
					SendQueue: queue, WriteTimeout: tc.writeTimeout, PingInterval: -1, CloseTimeout: kit.Ample, Logger: kit.Quiet,
				}}
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.BufferSize(32<<10), hailtest.Timeout(kit.Ample))...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				p.Stall()
				accepted := make([]int, senders) // by sender; each sender changes its own alone
				most := 200                      // of each sender, if nothing ends it
				if tc.cut {
					most = 6000
				}
				var group sync.WaitGroup
				for sender := range senders {
					group.Go(func() { // ends with an error of Send, or after most; waited for below
						for accepted[sender] < most {
							err := c.Send(numbered(sender, accepted[sender], size))
							if err != nil {
								if !errors.Is(err, hail.ErrConnClosed) && !errors.Is(err, hail.ErrQueueFull) {
									t.Errorf("Send: got %v", err)
								}
								return
							}
							accepted[sender]++
						}
					})
				}
				kit.Until(t, "a full queue", func() bool {
					st := s.Stats()
					if waits := int(st.Sent)*frame - int(st.BytesOut); waits > queue {
						t.Errorf("%d bytes wait, want at most the %d of SendQueue", waits, queue)
					} else if waits <= queue-2*frame-16<<10 { // a stream has one chunk of the queue in a write
						return len(e.Closed) > 0
					}
					return true
				})
				tc.end(p, c, s)
				group.Wait()
				sum := 0
				for _, n := range accepted {
					sum += n
				}
				got := make(ledger)
				if !tc.cut {
					for range sum {
						got.enter(t, p.Receive())
					}
					if n := s.Stats().Undelivered; n != 0 {
						t.Errorf("Stats.Undelivered: got %d, want 0", n)
					}
				} else {
					if name == "closed before it resumes" || name == "the callback's error" {
						p.WaitClose()
					}
					info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
					p.Resume()
					p.WaitClose()
					for range p.Pending() {
						got.enter(t, p.Receive())
					}
					lost := int(s.Stats().Undelivered)
					if got.total()+lost != sum {
						t.Errorf("of %d messages that Send took %d were received and %d counted in Stats.Undelivered: %d are missing",
							sum, got.total(), lost, sum-got.total()-lost)
					}
					if (lost > 0) != (info.Err != nil && strings.Contains(info.Err.Error(), fmt.Sprintf("%d queued messages were not written", lost))) {
						t.Errorf("CloseInfo.Err: got %v, want it to tell of %d messages", info.Err, lost)
					}
				}
				if n := int(s.Stats().Sent); n != sum {
					t.Errorf("Stats.Sent: got %d, want %d", n, sum)
				}
			})
		})
	}
}

// TestFailureDoesNotWaitForWhatAPeerDoesNotTake also checks that the dropped messages are counted.
func TestFailureDoesNotWaitForWhatAPeerDoesNotTake(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return errors.New("an error") }})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(10_000))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		const n = 100
		for seq := range n {
			if err := c.Send(numbered(0, seq, 500)); err != nil {
				t.Fatalf("Send: %v", err)
			}
			synctest.Wait() // a message that is being written cannot be dropped
		}
		time.Sleep(3 * time.Second)
		p.Write(kit.Message([]byte("have the callback fail")))
		synctest.Wait()
		p.Resume()
		if got := p.WaitClose(); got.Code != hail.StatusInternalError {
			t.Errorf("close: got %v, want 1011", got)
		}
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		got := make(ledger)
		for range p.Pending() {
			got.enter(t, p.Receive())
		}
		if lost := int(s.Stats().Undelivered); lost == 0 || got.total()+lost != n {
			t.Errorf("of %d messages %d were received and %d counted in Stats.Undelivered", n, got.total(), lost)
		}
		kit.CheckNames(t, info.Err, "queued messages were not written")
	})
}

func shutdownIn(s *hail.Server, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.Shutdown(ctx)
}

// TestStalledPeerTakesLittleMemory is not parallel: it looks at the whole process's heap.
func TestStalledPeerTakesLittleMemory(t *testing.T) {
	for name, opts := range kit.Transports {
		t.Run(name, func(t *testing.T) {
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: -1})}
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.BufferSize(32<<10))...)
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			p.Stall()
			before := kit.Heap()
			var group sync.WaitGroup
			data := kit.Noise(50_000)
			for range 16 {
				group.Go(func() { // ends with the connection; waited for below
					for c.Send(hail.Binary(data)) == nil {
					}
				})
			}
			kit.Until(t, "a full queue", func() bool { return c.TrySend(hail.Binary(data)) != nil && s.Stats().Sent > 10 })
			// The queue, twice while it is written and grows; a compressed message for each Send that waits.
			most := before + 2<<20 + 16*70_000 + 1<<19
			var after uint64
			for range 100 { // until all wait
				if after = kit.Heap(); after <= most {
					break
				}
			}
			if after > most {
				t.Errorf("heap: got %d bytes after %d, want at most %d", after, before, most)
			}
			s.Close()
			group.Wait()
		})
	}
}

// TestTrySendRacesClose ends connections in the middle of other goroutines' TrySend, 600 times.
func TestTrySendRacesClose(t *testing.T) {
	t.Parallel()
	const batch = 100
	for name, times := range map[string]int{"memory": 300, "tcp": 300} {
		// One after the other: the peers' memory is given back in between, and the network is not starved.
		t.Run(name, func(t *testing.T) {
			for i := range max(1, kit.Often(times)/batch) {
				t.Run(strconv.Itoa(i), func(t *testing.T) { trySendRacesClose(t, batch, dialers[name]) })
			}
		})
	}
}

func trySendRacesClose(t *testing.T, n int, dialer func(*testing.T, http.Handler) dial) {
	h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return hail.CloseError{Code: 4000} }})
	s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 20_000, Logger: kit.Quiet}}
	connect := dialer(t, s)
	for i := range n {
		p := connect("/")
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		const senders = 3
		var accepted [senders]int
		closing := make(chan struct{})
		var group sync.WaitGroup
		for sender := range senders {
			group.Go(func() { // ends with the connection, or after so many; waited for below
				<-closing
				for range 100 {
					switch err := c.TrySend(numbered(sender, accepted[sender], 0)); {
					case err == nil:
						accepted[sender]++
					case !errors.Is(err, hail.ErrQueueFull):
						return
					}
				}
			})
		}
		close(closing)
		for range i % 4 {
			runtime.Gosched()
		}
		switch i % 3 {
		case 0:
			c.Close(4000, "")
		case 1:
			p.Close(4000, "")
		case 2:
			p.Write(kit.Message([]byte("have the callback fail")))
		}
		if got := p.WaitClose(); got.Code != 4000 {
			t.Errorf("close: got %v, want 4000", got)
		}
		group.Wait()
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		got := make(ledger)
		for range p.Pending() {
			got.enter(t, p.Receive())
		}
		for sender, want := range accepted {
			if got[sender] != want {
				t.Errorf("way %d: of %d messages that TrySend took %d were received; %+v", i%3, want, got[sender], info)
			}
		}
	}
	if lost := s.Stats().Undelivered; lost != 0 {
		t.Errorf("Stats.Undelivered: got %d, want 0", lost)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
