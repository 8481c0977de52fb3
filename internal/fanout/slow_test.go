package fanout_test

// The cost of slow subscribers.

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

func TestSlow(t *testing.T) {
	t.Parallel()
	t.Run("cost no more than the bounds", func(t *testing.T) {
		const most = 10_000
		inBubble(t, fanout.Config{MaxBytes: most}, func(t *testing.T, h *fanout.Hub) {
			var quick peer
			slow := make([]peer, 10)
			h.Subscribe("room", 0, false, &quick)
			for i := range slow {
				slow[i].stalled = true
				h.Subscribe("room", 0, false, &slow[i])
			}
			for i := range 1000 {
				publish(t, h, "room", 0, strings.Repeat("x", i%200))
				if got := h.Stats().Bytes; got > most {
					t.Fatalf("%d bytes, want %d at the most", got, most)
				}
			}
			synctest.Wait()
			if len(quick.got) != 1000 {
				t.Errorf("the quick one got %d messages, want 1000", len(quick.got))
			}
			wantStats(t, h, 1, 11, 0) // nobody can read the messages any more
		})
	})

	t.Run("free the log when they catch up", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			slow := peer{stalled: true}
			c := h.Subscribe("room", 0, false, &slow)
			publish(t, h, "room", 0, "one")
			synctest.Wait()
			wantStats(t, h, 1, 1, 1)
			slow.read(c)
			wantStats(t, h, 1, 1, 0)
		})
	})
}

func TestSlowFreeTheLog(t *testing.T) {
	t.Parallel()
	t.Run("free messages that all have read", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			slow := [2]peer{{stalled: true}, {stalled: true}}
			c := h.Subscribe("room", 0, false, &slow[0])
			large := strings.Repeat("x", 100_000)
			publish(t, h, "room", 0, large, large)
			h.Subscribe("room", 0, false, &slow[1])
			publish(t, h, "room", 0, large, large)
			synctest.Wait()
			wantStats(t, h, 1, 2, 4)
			slow[0].read(c)
			publish(t, h, "room", 0, large)
			synctest.Wait()
			wantStats(t, h, 1, 2, 3)
		})
	})

	t.Run("are woken no more when they have been dropped", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 1}, func(t *testing.T, h *fanout.Hub) {
			wakes := 0
			h.Subscribe("room", 0, false, waker(func(c *fanout.Cursor) {
				if wakes++; c.Fallen() {
					c.Drop()
				}
			}))
			h.Subscribe("room", 0, false, new(peer))
			for range 5 {
				publish(t, h, "room", 0, "x")
				synctest.Wait()
			}
			if wakes != 2 {
				t.Errorf("woken %d times, want once for the first message and once for having fallen off", wakes)
			}
		})
	})
}

func TestChunks(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		slow := peer{stalled: true}
		c := h.Subscribe("room", 0, false, &slow)
		burst := slices.Repeat([]string{strings.Repeat("x", 128)}, 500) // 66,000 bytes with headers
		for _, want := range []int{6, 2, 2} {
			publish(t, h, "room", 0, burst...)
			synctest.Wait()
			if got := h.Stats().Chunks; got != want {
				t.Errorf("%d chunks for a burst of 66,000 bytes, want %d", got, want)
			}
			slow.read(c)
		}
		slow.check(t, slices.Concat(burst, burst, burst)...)
	})
}
