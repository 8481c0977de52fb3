package link_test

// Messages that were queued and not written: their number is known.

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

func TestUndeliveredAfterCut(t *testing.T) {
	t.Parallel()
	// Pipes that end within a frame, at its end, and within its header.
	for _, pipe := range []int{1, 100, 507, 508, 509, 511, 512, 1016, 4000, 4096, 5000, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, pipe)
			o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			const count = 40
			for seq := range count {
				o.Send(wire.Fin|wire.Binary, numbered(0, seq, 496), false) // frames of 508 bytes
				if seq%8 == 0 {
					o.Ping()
				}
			}
			synctest.Wait()
			o.Cut()
			<-o.done
			arrived := len(texts(f.until()))
			for _, again := range []string{"", " again"} {
				if got, want := o.Undelivered(), count-arrived; got != want {
					t.Errorf("pipe of %d: Undelivered%s = %d, want %d: %d arrived", pipe, again, got, want, arrived)
				}
			}
		})
	}
}

func TestCloseDropsStalled(t *testing.T) {
	t.Parallel()
	for _, stood := range []time.Duration{0, 999 * time.Millisecond, time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 600)
			o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			const count = 30
			for seq := range count {
				o.Send(wire.Fin|wire.Binary, numbered(0, seq, 496), false)
				synctest.Wait()
			}
			time.Sleep(stood)
			o.Close(link.CloseFrame{Code: 1002, DropStalled: true})
			all := f.until()
			<-o.done
			arrived := len(all) - 1
			for i, g := range all[:arrived] {
				if _, seq := checkNumbered(t, g.data); seq != i {
					t.Errorf("message %d, want %d", seq, i)
				}
			}
			if last := all[arrived]; last != (got{wire.Fin | wire.Close, "\x03\xea"}) {
				t.Errorf("the last frame is %v, want the close frame", last)
			}
			if got, want := o.Undelivered(), count-arrived; got != want {
				t.Errorf("after %v: Undelivered = %d, want %d", stood, got, want)
			}
			if dropped := arrived < count; dropped != (stood >= time.Second) {
				t.Errorf("after %v: %d of %d messages arrived", stood, arrived, count)
			}
		})
	}
}

func TestCutAmongSenders(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for round := range 30 {
				server, peer := transport(t, 4096)
				cfg := usual()
				cfg.SendQueue = 20_000
				o, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				var accepted atomic.Int64
				var wg sync.WaitGroup
				for sender := range 4 {
					wg.Go(func() {
						for seq := 0; o.Send(wire.Fin|wire.Binary, numbered(sender, seq, seq*17%1500), true) == nil; seq++ {
							if accepted.Add(1) == int64(10+20*round) {
								go o.Cut() // done follows it
							}
						}
					})
				}
				arrived := len(f.until())
				wg.Wait()
				<-o.done
				if got, want := o.Undelivered(), int(accepted.Load())-arrived; got != want {
					t.Errorf("round %d: Undelivered = %d, want %d: %d accepted, %d arrived", round, got, want, accepted.Load(), arrived)
				}
			}
		})
	}
}
