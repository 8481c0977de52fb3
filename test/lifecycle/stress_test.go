package lifecycle_test

// Many connections and many goroutines at once: the promises of one have to hold for all.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestManyGoroutinesSendBesideEchoes has each sender's order and every byte checked at the peer.
func TestManyGoroutinesSendBesideEchoes(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		const senders = 8
		each := kit.Often(200)
		sizeOf := func(sender, seq int) int { return (sender*7919 + seq*104729) % 3000 * (1 + seq%7/6*6) }
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error { return c.Send(m) }})
		s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 100_000, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.Timeout(kit.Ample))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		var group sync.WaitGroup
		for sender := range senders {
			group.Go(func() { // ends with its messages; waited for below
				for seq := range each {
					m := numbered(sender, seq, sizeOf(sender, seq))
					err := c.Send(m)
					clear(m.Data) // it is the caller's again
					if err != nil {
						t.Errorf("sender %d, message %d: %v", sender, seq, err)
						return
					}
				}
			})
		}
		for seq := range each { // the peer is a sender too, whose messages come back
			p.Send(numbered(senders, seq, sizeOf(senders, seq)))
		}
		got := make(ledger)
		for range (senders + 1) * each {
			got.enter(t, p.Receive())
		}
		group.Wait()
		if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want 1000", got)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CausePeerClosed, true)
		if st := s.Stats(); st.Sent != uint64((senders+1)*each) || st.Received != uint64(each) || st.Undelivered != 0 {
			t.Errorf("Stats: got %d sent, %d received, %d undelivered; want %d, %d, 0",
				st.Sent, st.Received, st.Undelivered, (senders+1)*each, each)
		}
	})
}

// TestManyBlockedCallbacksLearnOfTheirPeersEnd checks that a blocked callback's context ends although nothing reads from the peer.
func TestManyBlockedCallbacksLearnOfTheirPeersEnd(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of a peer's end while nobody reads")
	}
	n := kit.Often(400)
	blocked, ended := make(chan struct{}, n), make(chan error, n)
	h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
		blocked <- struct{}{}
		select {
		case <-c.Context().Done():
			ended <- context.Cause(c.Context())
		case <-time.After(kit.Ample):
			ended <- fmt.Errorf("the context has not ended within %v", kit.Ample)
		}
		return nil
	}})
	s := &hail.Server{Handler: h}
	peers := make([]*hailtest.Peer, n)
	connect := dialers["tcp"](t, s)
	for i := range peers {
		peers[i] = connect("/")
		peers[i].Send(hail.Text("block"))
	}
	for range peers {
		kit.Await(t, "OnMessage", blocked, kit.Ample)
	}
	for i, p := range peers {
		switch i % 4 {
		case 0:
			p.CloseWrite()
		case 1:
			p.Reset()
		case 2: // after bytes that nothing reads
			p.Write(kit.Message([]byte("unread"))[:7])
			p.CloseWrite()
		case 3:
			p.Write(kit.Message([]byte("unread"))[:7])
			p.Reset()
		}
	}
	for range peers {
		if err := kit.Await(t, "the context's end", ended, kit.Ample); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("cause: got %v, want ErrConnClosed", err)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusAbnormalClosure, hail.CausePeerGone, false)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	checkBooks(t, s, uint64(n), map[hail.Cause]uint64{hail.CausePeerGone: uint64(n)})
}

// TestEndedConnectionsAreForgotten checks that the server keeps nothing of them.
func TestEndedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		const n = 30
		var forgotten atomic.Int32
		closed := make(chan struct{}, n)
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, _ *http.Request) error {
				runtime.AddCleanup(c, func(int) { forgotten.Add(1) }, 0)
				return c.Send(hail.Text("hello"))
			},
			OnClose: func(*hail.Conn, hail.CloseInfo) { closed <- struct{}{} },
		}, Options: hail.Options{Compression: true}}
		for i := range n {
			p := hailtest.Dial(t, s, "/", opts...)
			p.Receive()
			if i%2 == 0 {
				p.Close(hail.StatusNormalClosure, "")
			} else {
				p.Reset()
			}
			kit.Await(t, "OnClose", closed, kit.Ample)
		}
		kit.Until(t, "all connections forgotten", func() bool {
			runtime.GC()
			return forgotten.Load() == n
		})
		runtime.KeepAlive(s)
	})
}
