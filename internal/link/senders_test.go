package link_test

// Many senders at once: the peer gets the messages of each whole and in order.

import (
	"fmt"
	"sync"
	"testing"

	"example.com/hail/hailtest"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

const (
	senders    = 8
	senderSend = 60 // messages
)

func TestManySenders(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/compressed=%v", name, compressed), func(t *testing.T) {
				t.Parallel()
				hailtest.NoLeaks(t)
				server, peer := transport(t, 16<<10)
				cfg := usual()
				cfg.SendQueue = 150_000
				o, f := connect(t, server, peer, cfg, link.Negotiation{Compression: compressed}, nil)
				go sendMany(t, o)
				if seen := checkMany(t, f.until()); (seen > 0) != compressed {
					t.Errorf("%d messages were compressed, want some: %v", seen, compressed)
				}
				<-o.done
				if got := o.Undelivered(); got != 0 {
					t.Errorf("Undelivered = %d, want 0", got)
				}
			})
		}
	}
}

// sendMany sends from many goroutines, and closes the connection after that.
func sendMany(t *testing.T, o *owner) {
	sizes := []int{0, 1, 117, 118, 500, 1500, 5000, 20_000, 65_527, 65_528, 70_000}
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for seq := range senderSend {
				message := numbered(sender, seq, sizes[(sender+seq)%len(sizes)])
				if err := o.Send(first(link.Message{Text: sender%2 == 0}), message, true); err != nil {
					t.Errorf("sender %d, message %d: %v", sender, seq, err)
					return
				}
				if seq%10 == sender {
					o.Ping()
				}
			}
		})
	}
	wg.Wait()
	o.Close(link.CloseFrame{Code: 1000, Reason: "all"})
}

// checkMany checks the messages of sendMany, and returns how many were compressed.
func checkMany(t *testing.T, all []got) (compressed int) {
	t.Helper()
	var next [senders]int
	for i, g := range all {
		if g.control() {
			continue
		}
		data := g.data
		if g.first&wire.RSV1 != 0 {
			data = inflated(t, data)
			compressed++
		}
		sender, seq := checkNumbered(t, data)
		if got, want := g.first&^wire.RSV1, first(link.Message{Text: sender%2 == 0}); got != want {
			t.Errorf("frame %d begins with %#x, want %#x", i, got, want)
		}
		if want := next[sender]; seq != want {
			t.Fatalf("frame %d is message %d of sender %d, want %d", i, seq, sender, want)
		}
		next[sender]++
	}
	for sender, n := range next {
		if n != senderSend {
			t.Errorf("%d messages of sender %d arrived, want %d", n, sender, senderSend)
		}
	}
	return compressed
}
