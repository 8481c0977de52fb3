package fanout_test

// What a subscription reads, and how it ends.

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

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
}

func TestPeekThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	t.Run("is unread until it is skipped", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 2}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			b, _ := c.Peek(math.MaxUint64)
			publish(t, h, "room", 0, "three")
			if !c.Fallen() {
				t.Error("not fallen off while the first message is dropped and not skipped")
			}
			if got := c.Skip(len(b) - 1); got != len(b) {
				t.Errorf("Skip(%d) = %d, want the second frame's end at %d", len(b)-1, got, len(b))
			}
			a.read(c)
			a.check(t)
			if a.behind == nil {
				t.Error("Peek returned no error, want a BehindError")
			}
			c.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("returns bytes that do not change", func(t *testing.T) {
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

// TestOrder reads the latest number, and then has to find all messages up to it, while others publish. With one topic the
// numbers have no gaps, so they say how many messages that are.
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
					t.Errorf("got %d messages, want %d", got, upto-start)
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

func TestEnd(t *testing.T) {
	t.Parallel()
	t.Run("leaves messages that were published before", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			c.End()
			publish(t, h, "room", 0, "three")
			if c.Drained() {
				t.Error("drained with two unread messages")
			}
			a.read(c)
			a.check(t, "one", "two")
			if !c.Drained() {
				t.Error("not drained with nothing unread")
			}
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("leaves no messages of its own", func(t *testing.T) {
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

	t.Run("drains at once if nothing is unread", func(t *testing.T) {
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
}

func TestDrop(t *testing.T) {
	t.Parallel()
	t.Run("gives up unread messages", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &a)
			publish(t, h, "room", 0, "one", "two")
			b, _ := c.Peek(math.MaxUint64)
			c.Drop()
			wantStats(t, h, 0, 0, 0)
			if got := c.Skip(1); got != 5 {
				t.Errorf("Skip(1) = %d after Drop, want the frame's 5", got)
			}
			if got, err := c.Peek(math.MaxUint64); got != nil || err != nil || len(b) != 10 {
				t.Errorf("Peek: %q, %v, before %q", got, err, b)
			}
			if c.Pending() != 0 || c.Fallen() || !c.Drained() {
				t.Errorf("pending %d, fallen %v, drained %v, want 0, false, true", c.Pending(), c.Fallen(), c.Drained())
			}
		})
	})
}
