package fanout_test

// Which messages are published, and who gets them.

import (
	"crypto/rand"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

// inBubble runs f with a hub in a bubble, and closes the hub after f. In a bubble synctest.Wait waits until nobody is
// being woken.
func inBubble(t *testing.T, cfg fanout.Config, f func(t *testing.T, h *fanout.Hub)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := fanout.New(cfg)
		defer h.Close()
		f(t, h)
	})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	t.Run("reaches every subscriber in order", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a, b, other peer
			cursors := []*fanout.Cursor{
				h.Subscribe("room", 1, false, &a), h.Subscribe("room", 2, false, &b), h.Subscribe("hall", 3, false, &other),
			}
			publish(t, h, "room", 0, "one", "two", "three")
			synctest.Wait()
			a.check(t, "one", "two", "three")
			b.check(t, "one", "two", "three")
			other.check(t)
			wantStats(t, h, 2, 3, 0)
			for _, c := range cursors {
				c.Drop()
			}
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("does not reach the sender", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a, b peer
			h.Subscribe("room", 1, false, &a)
			h.Subscribe("room", 65, false, &b) // has the same bit as 1
			publish(t, h, "room", 1, "one")
			publish(t, h, "room", 0, "two")
			publish(t, h, "room", 65, "three")
			synctest.Wait()
			a.check(t, "two", "three")
			b.check(t, "one", "two")
			wantStats(t, h, 1, 2, 0)
		})
	})
}

func TestPublishNumbers(t *testing.T) {
	t.Parallel()
	t.Run("keeps nothing if nobody subscribes", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			before := h.Order()
			if got := publish(t, h, "room", 0, "one")[0]; got <= before || got != h.Order() {
				t.Errorf("number %d, Order %d before and %d after", got, before, h.Order())
			}
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("numbers rise and are seen by Order", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, false, &a)
			h.Subscribe("hall", 1, false, &a)
			for last, i := h.Order(), 0; i < 10; i++ {
				topic := []string{"room", "hall"}[i%2]
				got := publish(t, h, topic, 0, "x")[0]
				if got <= last || h.Order() != got {
					t.Fatalf("number %d after %d, Order %d", got, last, h.Order())
				}
				last = got
			}
		})
	})
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	t.Run("refuses a message that no log can hold", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxBytes: 102}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, strings.Repeat("x", 100))
			_, err := h.Publish("room", text, make([]byte, 101), 0)
			var large *fanout.TooLargeError
			if !errors.As(err, &large) || *large != (fanout.TooLargeError{Bytes: 103, Max: 102}) {
				t.Errorf("got %v, want a TooLargeError of 103 and 102", err)
			}
		})
	})

	t.Run("is refused after Close", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			c := h.Subscribe("room", 1, false, &a)
			h.Close()
			if _, err := h.Publish("room", text, nil, 0); err != fanout.ErrClosed {
				t.Errorf("Publish: %v, want %v", err, fanout.ErrClosed)
			}
			_, err := h.PublishSeq("room", 0, func(uint64) (byte, []byte, error) { return text, nil, nil })
			if err != fanout.ErrClosed {
				t.Errorf("PublishSeq: %v, want %v", err, fanout.ErrClosed)
			}
			if err := h.Broadcast(text, nil); err != fanout.ErrClosed {
				t.Errorf("Broadcast: %v, want %v", err, fanout.ErrClosed)
			}
			c.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})
}

// TestChurn subscribes to a topic and leaves it from several goroutines, so the topic often is just gone. Each goroutine
// has to get the message that it publishes.
func TestChurn(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for range 5000 {
					woken := make(chan struct{}, 4)
					c := h.Subscribe("room", 0, false, waker(func(*fanout.Cursor) {
						select {
						case woken <- struct{}{}:
						default:
						}
					}))
					h.Publish("room", text, nil, 0)
					<-woken // blocks for ever if the topic is not the one that everybody finds
					c.Drop()
				}
			})
		}
		all.Wait()
		synctest.Wait()
		wantStats(t, h, 0, 0, 0)
	})
}

// TestBroadcast has a broadcast reach all cursors of SubscribeAll, and no topic's, whatever its name.
func TestBroadcast(t *testing.T) {
	inBubble(t, fanout.Config{MaxBytes: 102, MaxMessages: 2}, func(t *testing.T, h *fanout.Hub) {
		var a, named peer
		slow := peer{stalled: true}
		h.Subscribe("", 2, false, &named)
		h.SubscribeAll(false, &a)
		c := h.SubscribeAll(false, &slow)
		broadcast(t, h, "one", "two")
		publish(t, h, "", 0, "named")
		broadcast(t, h, "three")
		synctest.Wait()
		a.check(t, "one", "two", "three")
		named.check(t, "named")
		slow.read(c)
		if want := (fanout.BehindError{All: true, Messages: 3, Bound: fanout.Messages}); slow.behind == nil || *slow.behind != want {
			t.Errorf("got %v, want %v", slow.behind, &want)
		}
		var large *fanout.TooLargeError
		if err := h.Broadcast(text, make([]byte, 101)); !errors.As(err, &large) {
			t.Errorf("got %v, want a TooLargeError", err)
		}
	})
}

func TestTopics(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		h.Subscribe("room", 1, false, &a)
		c := h.Subscribe("room", 2, false, &a)
		h.Subscribe("hall", 1, false, &a)
		h.SubscribeAll(false, &a)
		if got, want := maps.Collect(h.Topics()), map[string]int{"room": 2, "hall": 1}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		c.End()
		if got := maps.Collect(h.Topics())["room"]; got != 1 {
			t.Errorf("%d subscribers after End, want 1", got)
		}
		for range h.Topics() {
			for range 200 { // with new topics in each shard that the hub may have locked
				h.Subscribe(rand.Text(), 1, false, &a).Drop()
			}
			break
		}
	})
}

func TestLargeMessages(t *testing.T) {
	inBubble(t, fanout.Config{MaxBytes: 1 << 20}, func(t *testing.T, h *fanout.Hub) {
		a := peer{stalled: true}
		c := h.Subscribe("room", 1, false, &a)
		var all []string
		for i, size := range []int{10, 600, 125, 126, 65535, 65536, 3, 200_000, 5, 70_000, 1, 100_000} {
			all = append(all, strings.Repeat(string(rune('a'+i)), size))
		}
		publish(t, h, "room", 0, all...)
		a.read(c)
		a.check(t, all...)
	})
}
