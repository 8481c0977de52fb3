package fanout_test

import (
	"crypto/rand"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

// inBubble runs f with a hub that is closed behind it. In a bubble synctest.Wait waits until nobody is
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

	t.Run("leaves out the sender", func(t *testing.T) {
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

	t.Run("leaves nothing where nobody subscribes", func(t *testing.T) {
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

	t.Run("refuses what no log could hold", func(t *testing.T) {
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
			c.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})
}

// TestChurn subscribes to a topic and leaves it from several goroutines, so that it often is just gone. What each
// publishes has to reach it.
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
					<-woken // for ever where it is not the room that everybody knows
					c.Drop()
				}
			})
		}
		all.Wait()
		synctest.Wait()
		wantStats(t, h, 0, 0, 0)
	})
}

func TestTopics(t *testing.T) {
	inBubble(t, fanout.Config{Hidden: "\xff"}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		h.Subscribe("room", 1, false, &a)
		c := h.Subscribe("room", 2, false, &a)
		h.Subscribe("hall", 1, false, &a)
		h.Subscribe("\xff", 1, false, &a)
		if got, want := maps.Collect(h.Topics()), map[string]int{"room": 2, "hall": 1}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		c.End()
		if got := maps.Collect(h.Topics())["room"]; got != 1 {
			t.Errorf("%d subscribers after End, want 1", got)
		}
		for range h.Topics() {
			for range 200 { // with new topics in each part that the hub may hold
				h.Subscribe(rand.Text(), 1, false, &a).Drop()
			}
			break
		}
	})
}

func TestPeek(t *testing.T) {
	t.Parallel()

	t.Run("ends at upto", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			numbers := publish(t, h, "room", 0, "one", "two", "three", "four")
			for i, n := range numbers {
				b, _ := c.Peek(n)
				if got, _, err := decode(b); err != nil || !slices.Equal(got, []string{"one", "two", "three", "four"}[:i+1]) {
					t.Errorf("Peek up to number %d: %q, %v", i, got, err)
				}
			}
			if b, err := c.Peek(numbers[0] - 1); b != nil || err != nil {
				t.Errorf("Peek before the first number: %q, %v, want nothing", b, err)
			}
			if got := c.Pending(); got != 4 {
				t.Errorf("Pending %d, want 4", got)
			}
		})
	})

	t.Run("is moved on by whole frames", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two", "three")
			for _, step := range []struct{ n, end, pending int }{{0, 0, 3}, {1, 5, 2}, {5, 5, 1}, {3, 7, 0}} {
				b, err := c.Peek(math.MaxUint64)
				if err != nil || len(b) < step.n {
					t.Fatalf("Peek: %d bytes, %v", len(b), err)
				}
				if got := c.Skip(step.n); got != step.end || c.Pending() != step.pending {
					t.Errorf("Skip(%d) = %d and %d pending, want %d and %d", step.n, got, c.Pending(), step.end, step.pending)
				}
			}
			wantStats(t, h, 1, 1, 0)
		})
	})

	t.Run("counts as not taken until it is skipped", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 2}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			b, _ := c.Peek(math.MaxUint64)
			publish(t, h, "room", 0, "three")
			if !c.Lost() {
				t.Error("not lost while the first message is dropped and not skipped")
			}
			if got := c.Skip(len(b) - 1); got != len(b) {
				t.Errorf("Skip(%d) = %d, want the second frame's end at %d", len(b)-1, got, len(b))
			}
			a.take(c)
			a.check(t)
			if a.behind == nil {
				t.Error("Peek gives no error")
			}
			c.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("gives bytes that stay", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 2}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			b, _ := c.Peek(math.MaxUint64)
			for range 1000 {
				publish(t, h, "room", 0, "more")
			}
			if got, _, err := decode(b); err != nil || !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("got %q, %v", got, err)
			}
			if cap(b) != len(b) {
				t.Errorf("capacity %d past the %d bytes, which belong to others", cap(b), len(b))
			}
		})
	})
}

// TestOrder reads the latest number and then has to find all messages up to it, while others publish. With one
// topic numbers are dense, which says how many that are.
func TestOrder(t *testing.T) {
	t.Parallel()
	h := fanout.New(fanout.Config{})
	const publishers, messages, readers = 2, 10_000, 2
	var publishing, reading sync.WaitGroup
	start := h.Order()
	for range readers {
		c := h.Subscribe("room", 0, false, waker(func(*fanout.Cursor) {}))
		reading.Go(func() {
			defer c.Drop()
			got := uint64(0)
			for got < publishers*messages {
				upto := h.Order()
				for p, _ := c.Peek(upto); p != nil; p, _ = c.Peek(upto) {
					c.Skip(len(p))
					got += uint64(len(p)) / 2
				}
				if got != upto-start {
					t.Errorf("got %d messages of %d", got, upto-start)
					return
				}
			}
		})
	}
	for range publishers {
		publishing.Go(func() {
			for range messages {
				h.Publish("room", text, nil, 0)
			}
		})
	}
	publishing.Wait()
	reading.Wait()
	h.Close()
	wantStats(t, h, 0, 0, 0)
}

func TestBehind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg   fanout.Config
		keeps int // messages of 3 bytes
		bound fanout.Bound
	}{
		"messages": {fanout.Config{MaxMessages: 10}, 10, fanout.Messages},
		"bytes":    {fanout.Config{MaxBytes: 32}, 10, fanout.Bytes},
		"both":     {fanout.Config{MaxBytes: 32, MaxMessages: 9}, 9, fanout.Messages},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.cfg, func(t *testing.T, h *fanout.Hub) {
				var quick peer
				slow := peer{stalled: true}
				h.Subscribe("room", 1, false, &quick)
				cursor := h.Subscribe("room", 2, false, &slow)
				for range c.keeps {
					publish(t, h, "room", 0, "x")
				}
				synctest.Wait()
				if cursor.Lost() {
					t.Fatalf("lost with %d messages, which the log has", c.keeps)
				}
				publish(t, h, "room", 0, "x")
				synctest.Wait()
				if !cursor.Lost() {
					t.Fatalf("not lost with %d messages", c.keeps+1)
				}
				slow.take(cursor)
				want := fanout.BehindError{Topic: "room", Messages: c.keeps + 1, Bound: c.bound}
				if slow.behind == nil || *slow.behind != want {
					t.Errorf("got %v, want %v", slow.behind, &want)
				}
				slow.check(t)
				quick.check(t, slices.Repeat([]string{"x"}, c.keeps+1)...)
				wantStats(t, h, 1, 2, 0)
				cursor.Drop()
				wantStats(t, h, 1, 1, 0)
			})
		})
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()

	t.Run("leaves what was before", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			c.End()
			publish(t, h, "room", 0, "three")
			if c.Drained() {
				t.Error("drained with two messages to take")
			}
			a.take(c)
			a.check(t, "one", "two")
			if !c.Drained() {
				t.Error("not drained with nothing to take")
			}
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("leaves nothing of its own", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 1, "mine")
			c.End()
			if !c.Drained() {
				t.Error("not drained, want only its own message to be left")
			}
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("is wanted at once where nothing waits", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a, b peer
			c := h.Subscribe("room", 1, false, &a)
			h.Subscribe("room", 2, false, &b)
			c.End()
			if !c.Drained() {
				t.Error("not drained")
			}
			publish(t, h, "room", 0, "one")
			synctest.Wait()
			a.check(t)
			b.check(t, "one")
			c.End()
			c.Drop()
			wantStats(t, h, 1, 1, 0)
		})
	})

	t.Run("by Drop gives up what was before", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			b, _ := c.Peek(math.MaxUint64)
			c.Drop()
			wantStats(t, h, 0, 0, 0)
			if got := c.Skip(1); got != 5 {
				t.Errorf("Skip(1) = %d behind Drop, want the frame's 5", got)
			}
			if got, err := c.Peek(math.MaxUint64); got != nil || err != nil || len(b) != 10 {
				t.Errorf("Peek: %q, %v, before %q", got, err, b)
			}
			if c.Pending() != 0 || c.Lost() || !c.Drained() {
				t.Errorf("pending %d, lost %v, drained %v", c.Pending(), c.Lost(), c.Drained())
			}
		})
	})
}

func TestDeflate(t *testing.T) {
	t.Parallel()
	cfg := fanout.Config{Deflate: true, DeflateFrom: 200}
	long := strings.Repeat("compress me ", 100)

	t.Run("is for those who want it", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			var plain, deflated peer
			h.Subscribe("room", 1, false, &plain)
			h.Subscribe("room", 2, true, &deflated)
			all := []string{"short", long, "short", long, strings.Repeat("x", 199)}
			publish(t, h, "room", 0, all...)
			synctest.Wait()
			plain.check(t, all...)
			deflated.check(t, all...)
			if plain.frames != 0 || deflated.frames != 2 {
				t.Errorf("%d and %d frames compressed, want 0 and 2", plain.frames, deflated.frames)
			}
		})
	})

	t.Run("costs nothing where nobody wants it any more", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			slow := peer{stalled: true}
			s := h.Subscribe("room", 1, false, &slow)
			c := h.Subscribe("room", 2, true, new(peer))
			publish(t, h, "room", 0, long)
			both := h.Stats().Bytes
			c.Drop()
			publish(t, h, "room", 0, "short", long)
			if got, want := h.Stats().Bytes-both, 2+5+4+len(long); both <= 4+len(long) || got != want {
				t.Errorf("%d bytes for both, then %d more, want %d", both, got, want)
			}
			slow.take(s)
			slow.check(t, long, "short", long)
		})
	})

	t.Run("is left where it is not shorter", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, true, &a)
			random := make([]byte, 1000)
			rand.Read(random)
			publish(t, h, "room", 0, string(random))
			synctest.Wait()
			if a.check(t, string(random)); a.frames != 0 {
				t.Error("compressed what becomes longer by that")
			}
		})
	})

	t.Run("is left where the log could not hold both", func(t *testing.T) {
		cfg := cfg
		cfg.MaxBytes = len(long) + 10
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, true, &a)
			publish(t, h, "room", 0, long)
			synctest.Wait()
			if a.check(t, long); a.frames != 0 {
				t.Errorf("compressed into a log of %d bytes", cfg.MaxBytes)
			}
		})
	})
}

func TestPublishSeq(t *testing.T) {
	t.Parallel()

	t.Run("gives f the message's number", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, false, &a)
			var given uint64
			before := h.Order()
			seq, err := h.PublishSeq("room", 0, func(seq uint64) (byte, []byte, error) {
				given = seq
				return text, []byte("one"), nil
			})
			synctest.Wait()
			if err != nil || seq != given || seq <= before || h.Order() != seq {
				t.Errorf("number %d, given %d, Order %d before and %d after, %v", seq, given, before, h.Order(), err)
			}
			a.check(t, "one")
		})
	})

	t.Run("calls f again when another message was faster", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("room", 1, false, &a)
			var given []uint64
			seq, err := h.PublishSeq("room", 0, func(seq uint64) (byte, []byte, error) {
				given = append(given, seq)
				if len(given) <= 3 {
					publish(t, h, "room", 0, slices.Repeat([]string{"x"}, 1<<(2*len(given)))...)
				}
				return text, []byte{byte('0' + len(given))}, nil
			})
			synctest.Wait()
			if err != nil || len(given) != 4 || !slices.IsSorted(given) || seq != given[3] {
				t.Errorf("number %d of %d, %v", seq, given, err)
			}
			a.check(t, append(slices.Repeat([]string{"x"}, 4+16+64), "4")...)
		})
	})

	t.Run("numbers do not run ahead", func(t *testing.T) {
		t.Parallel()
		const most = 10_000 // for each message
		h := fanout.New(fanout.Config{})
		defer h.Close()
		before, start := h.Order(), time.Now()
		var messages atomic.Uint64
		var publishers sync.WaitGroup
		for range 32 {
			publishers.Go(func() {
				for time.Since(start) < 300*time.Millisecond {
					if _, err := h.PublishSeq("room", 0, func(uint64) (byte, []byte, error) {
						time.Sleep(100 * time.Microsecond)
						return text, nil, nil
					}); err != nil {
						t.Errorf("PublishSeq: %v", err)
					}
					messages.Add(1)
				}
			})
		}
		publishers.Wait()
		if n := messages.Load(); h.Order()-before > most*n {
			t.Errorf("numbers rose by %d with %d messages, want at most %d for each", h.Order()-before, n, most)
		}
	})

	t.Run("leaves nothing where nobody subscribes", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			seq, err := h.PublishSeq("room", 0, func(uint64) (byte, []byte, error) { return text, nil, nil })
			if err != nil || seq != h.Order() {
				t.Errorf("number %d, Order %d, %v", seq, h.Order(), err)
			}
			wantStats(t, h, 0, 0, 0)
		})
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
		a.take(c)
		a.check(t, all...)
	})
}

// TestSkipWhenLost has a cursor fall off the log while what it has peeked is being written.
func TestSkipWhenLost(t *testing.T) {
	t.Parallel()
	// fall returns a cursor that has peeked so many messages of six, and fallen off. The log has the last of
	// them, for another one that is as slow.
	fall := func(t *testing.T, h *fanout.Hub, peeked int) (c *fanout.Cursor, p []byte) {
		c = h.Subscribe("a", 0, false, &peer{stalled: true})
		all := []string{"0", "1", "2", "3", "4", "5"}
		publish(t, h, "a", 0, all[:peeked]...)
		p, err := c.Peek(math.MaxUint64)
		if err != nil {
			t.Fatal(err)
		}
		other := max(peeked, 2)
		publish(t, h, "a", 0, all[peeked:other]...)
		t.Cleanup(h.Subscribe("a", 0, false, &peer{stalled: true}).Drop)
		publish(t, h, "a", 0, all[other:]...)
		synctest.Wait()
		if !c.Lost() || c.Pending() != 6 {
			t.Fatalf("lost %v with %d messages to take, want true with 6", c.Lost(), c.Pending())
		}
		return c, p
	}
	cfg := fanout.Config{MaxMessages: 4}
	t.Run("what was written is not lost", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			c, p := fall(t, h, 1)
			c.Skip(len(p))
			_, err := c.Peek(math.MaxUint64)
			var behind *fanout.BehindError
			if !errors.As(err, &behind) || behind.Messages != 5 || c.Pending() != 5 {
				t.Errorf("got %v and %d messages to take, want 5 messages behind", err, c.Pending())
			}
		})
	})
	t.Run("nothing is lost where all was written that the log has dropped", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			c, p := fall(t, h, 3)
			c.Skip(len(p))
			p, err := c.Peek(math.MaxUint64)
			got, _, _ := decode(p)
			if want := []string{"3", "4", "5"}; err != nil || !slices.Equal(got, want) || c.Lost() {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	})
	t.Run("an ended cursor is drained by the last that was written", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			c := h.Subscribe("a", 0, false, &peer{stalled: true})
			publish(t, h, "a", 0, "0", "1")
			p, _ := c.Peek(math.MaxUint64)
			c.End()
			publish(t, h, "a", 0, "2", "3", "4", "5")
			synctest.Wait()
			if c.Skip(len(p)); c.Lost() || !c.Drained() {
				t.Errorf("lost %v, drained %v, want a cursor that is drained", c.Lost(), c.Drained())
			}
			wantStats(t, h, 0, 0, 0)
		})
	})
}
