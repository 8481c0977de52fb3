package fanout_test

// Compression. Each message is compressed once for all its subscribers.

import (
	"crypto/rand"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

var (
	deflating = fanout.Config{Deflate: true, DeflateFrom: 200}
	long      = strings.Repeat("compress me ", 100)
)

func TestDeflate(t *testing.T) {
	t.Parallel()
	t.Run("is for those who want it", func(t *testing.T) {
		inBubble(t, deflating, func(t *testing.T, h *fanout.Hub) {
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

	t.Run("costs nothing if nobody wants it any more", func(t *testing.T) {
		inBubble(t, deflating, func(t *testing.T, h *fanout.Hub) {
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
			slow.read(s)
			slow.check(t, long, "short", long)
		})
	})
}

func TestDeflateIsLeft(t *testing.T) {
	t.Parallel()
	t.Run("is left out if it is not shorter", func(t *testing.T) {
		inBubble(t, deflating, func(t *testing.T, h *fanout.Hub) {
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

	t.Run("is left out if the log cannot hold both", func(t *testing.T) {
		cfg := deflating
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
