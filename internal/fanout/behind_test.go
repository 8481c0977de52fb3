package fanout_test

// Subscribers that fall off the log.

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

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
				if cursor.Fallen() {
					t.Fatalf("fallen off with %d messages, which the log has", c.keeps)
				}
				publish(t, h, "room", 0, "x")
				synctest.Wait()
				if !cursor.Fallen() {
					t.Fatalf("not fallen off with %d messages", c.keeps+1)
				}
				slow.read(cursor)
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

// fall returns a cursor that has peeked so many messages of six and has fallen off. The log has the last of them, for
// another cursor that is as slow.
func fall(t *testing.T, h *fanout.Hub, peeked int) (c *fanout.Cursor, p []byte) {
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
	if !c.Fallen() || c.Pending() != 6 {
		t.Fatalf("fallen %v with %d unread messages, want true with 6", c.Fallen(), c.Pending())
	}
	return c, p
}

// TestSkipWhenFallen has a cursor fall off the log while the frames that it has peeked are being written.
func TestSkipWhenFallen(t *testing.T) {
	t.Parallel()
	cfg := fanout.Config{MaxMessages: 4}
	t.Run("written messages do not count as unread", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			c, p := fall(t, h, 1)
			c.Skip(len(p))
			_, err := c.Peek(math.MaxUint64)
			var behind *fanout.BehindError
			if !errors.As(err, &behind) || behind.Messages != 5 || c.Pending() != 5 {
				t.Errorf("got %v and %d unread messages, want 5 messages behind", err, c.Pending())
			}
		})
	})
	t.Run("a cursor has not fallen off if all that the log has dropped was written", func(t *testing.T) {
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			c, p := fall(t, h, 3)
			c.Skip(len(p))
			p, err := c.Peek(math.MaxUint64)
			got, _, _ := decode(p)
			if want := []string{"3", "4", "5"}; err != nil || !slices.Equal(got, want) || c.Fallen() {
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
			if c.Skip(len(p)); c.Fallen() || !c.Drained() {
				t.Errorf("fallen %v, drained %v, want a cursor that is drained", c.Fallen(), c.Drained())
			}
			wantStats(t, h, 0, 0, 0)
		})
	})
}
