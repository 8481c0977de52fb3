package link_test

// The close frame, and the frames before and after it.

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/hail/hailtest"
	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

func TestCloseAfterQueuedData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 500)
		o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		const count = 30
		for seq := range count {
			o.Send(wire.Fin|wire.Binary, numbered(0, seq, 900), false)
		}
		synctest.Wait()
		if !o.Close(link.CloseFrame{Code: 4000, Reason: "bye"}) {
			t.Error("Close = false, want true")
		}
		if o.Conn.Close(link.CloseFrame{Code: 4001}) {
			t.Error("a second Close of the link = true, want false")
		}
		o.Ping()
		if err := o.Send(wire.Fin|wire.Binary, nil, false); err != link.ErrClosed {
			t.Errorf("Send = %v, want %v", err, link.ErrClosed)
		}
		if told := o.wasTold(); told != "" {
			t.Errorf("%s is called while the close frame waits", told)
		}
		next := 0
		all := f.until()
		for i, g := range all {
			switch {
			case !g.control():
				if _, seq := checkNumbered(t, g.data); seq != next {
					t.Errorf("message %d, want %d", seq, next)
				}
				next++
			case g.first == wire.Fin|wire.Close && i != len(all)-1:
				t.Errorf("%d frames after the close frame, want none", len(all)-1-i)
			}
		}
		if last := all[len(all)-1]; last != (got{wire.Fin | wire.Close, "\x0f\xa0bye"}) || next != count {
			t.Errorf("%d messages and %v, want %d and the close frame", next, last, count)
		}
		<-o.done
		if s := o.life.State(); !s.Sent() || !s.Received() || o.Undelivered() != 0 {
			t.Errorf("state %v, Undelivered %d, want sent, received, 0", s, o.Undelivered())
		}
	})
}

func TestCloseWhenThePeersFrameCannotBeFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 500)
		o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		o.Send(wire.Fin|wire.Binary, numbered(0, 0, 5000), false)
		o.violate(life.Lose, link.CloseFrame{Code: 1002})
		stream, err := io.ReadAll(f.nc)
		all := parse(t, stream)
		if want := (got{wire.Fin | wire.Close, "\x03\xea"}); err != nil || len(all) != 2 || all[1] != want {
			t.Errorf("the peer reads %v, %v, want a message, %v and the end", all, err, want)
		}
		select {
		case <-o.done:
			t.Error("the link is done, want it to wait for the peer")
		default:
		}
	})
}

func TestPeerClosesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 500)
		o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		o.Send(wire.Fin|wire.Binary, numbered(0, 0, 5000), false)
		f.send(masked(wire.Fin|wire.Close, []byte("\x03\xe8")))
		synctest.Wait()
		if stream, err := io.ReadAll(f.nc); err != nil || len(parse(t, stream)) != 2 {
			t.Errorf("the peer reads %v, %v, want the message, the close frame and the end", parse(t, stream), err)
		}
		<-o.done
	})
}

// TestWhoClosesFirst has the link read the peer's close frame while something of ours waits to be written.
func TestWhoClosesFirst(t *testing.T) {
	t.Parallel()
	own := func(o *owner) { o.Send(wire.Fin|wire.Binary, numbered(0, 0, 100), false) }
	closing := func(o *owner) { o.Close(link.CloseFrame{Code: 1000}) }
	publish := func(o *owner) {
		b := newBoard()
		b.join(o, "a", 0)
		b.publish("a", "pub")
	}
	for name, test := range map[string]struct {
		before []func(*owner)
		first  bool
	}{
		"nothing is queued":         {nil, true},
		"data is queued":            {[]func(*owner){own}, true},
		"the close frame is queued": {[]func(*owner){closing}, false},
		"after data":                {[]func(*owner){own, closing}, true},
		"after a ping":              {[]func(*owner){(*owner).Ping, closing}, true},
		"after published data":      {[]func(*owner){publish, closing}, true},
		"and other data published":  {[]func(*owner){closing, publish}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o, f, st := stepwise(t, newBoard().config())
				var first []bool
				o.closed = func(e *link.PeerClose) { first = append(first, e.First) }
				for _, f := range test.before {
					f(o)
				}
				synctest.Wait()
				for range 2 { // nothing after the first counts
					f.send(masked(wire.Fin|wire.Close, []byte("\x03\xe8")))
				}
				synctest.Wait()
				if want := []bool{test.first}; !slices.Equal(first, want) {
					t.Errorf("the peer closes first: %v, want %v", first, want)
				}
				st.finish(1 << 10)
				<-o.done
				if s := o.life.State(); !s.Sent() || !s.Received() {
					t.Errorf("state %v, want sent and received", s)
				}
			})
		})
	}
}

// TestMalformedClose has the peer's close frame break the protocol. It is the peer's last all the same.
func TestMalformedClose(t *testing.T) {
	t.Parallel()
	for _, closing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 500)
			o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			var told *link.Violation
			o.broke = func(v *link.Violation) { told = v }
			if want := 1007; closing {
				o.Close(link.CloseFrame{Code: want})
			}
			f.send(masked(wire.Fin|wire.Close, []byte("\x03\xe8\xff")))
			stream, err := io.ReadAll(f.nc)
			<-o.done
			if told == nil || !told.Closes || told.Lost || told.Code != 1007 {
				t.Errorf("closing %v: violation %+v, want one that closes, with 1007", closing, told)
			}
			all := parse(t, stream)
			if err != nil || len(all) != 1 || all[0].first != wire.Fin|wire.Close || all[0].data[:2] != "\x03\xef" {
				t.Errorf("closing %v: the peer reads %v, %v, want a close frame with 1007 and the end", closing, all, err)
			}
			if s := o.life.State(); !s.Sent() || !s.Received() {
				t.Errorf("closing %v: state %v, want sent and received", closing, s)
			}
		})
	}
}

// TestPeerEnds has the peer end its sending direction without a close frame, while it goes on to read.
func TestPeerEnds(t *testing.T) {
	t.Parallel()
	for _, closing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 500)
			o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			const count = 10
			for seq := range count {
				o.Send(wire.Fin|wire.Binary, numbered(0, seq, 500), false)
			}
			if closing {
				o.Close(link.CloseFrame{Code: 1000})
			}
			peer.(*hailtest.PipeConn).CloseWrite()
			synctest.Wait()
			if over := o.life.State().Phase() == life.Done; over == closing {
				t.Errorf("closing %v: the connection has ended: %v", closing, over)
			}
			var all []got
			for {
				h, p, err := f.frame()
				if err != nil {
					break
				}
				all = append(all, newGot(h, p))
			}
			<-o.done
			if got := len(texts(all)) + o.Undelivered(); got != count {
				t.Errorf("closing %v: %d messages came or are undelivered, want %d", closing, got, count)
			}
			closed := len(all) > 0 && all[len(all)-1] == got{wire.Fin | wire.Close, "\x03\xe8"}
			if closed != closing || closing != (o.Undelivered() == 0) || closing != o.life.State().Sent() {
				t.Errorf("closing %v: a close frame came: %v, %d undelivered, %v", closing, closed, o.Undelivered(), o.life.State())
			}
		})
	}
}

func TestCloseAmongSenders(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				server, peer := transport(t, 4096)
				cfg := usual()
				cfg.SendQueue = 10_000
				o, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				var accepted atomic.Int64
				var wg sync.WaitGroup
				for sender := range 4 {
					wg.Go(func() {
						for seq := 0; o.Send(wire.Fin|wire.Binary, numbered(sender, seq, seq%700), true) == nil; seq++ {
							if accepted.Add(1) == 300 {
								o.Close(link.CloseFrame{Code: 1001})
							}
							o.Ping()
						}
					})
				}
				all := f.until()
				wg.Wait()
				<-o.done
				if data := len(texts(all)); int64(data) != accepted.Load() || o.Undelivered() != 0 {
					t.Errorf("%d messages arrived, %d undelivered, want the %d for which Send returned nil", data, o.Undelivered(), accepted.Load())
				}
				if len(all) == 0 || all[len(all)-1].first != wire.Fin|wire.Close {
					t.Error("the last frame is no close frame, want one")
				}
				if told := o.wasTold(); told != "CloseWritten" {
					t.Errorf("the owner is told %q, want CloseWritten", told)
				}
			}
		})
	}
}
