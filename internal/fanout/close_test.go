package fanout_test

// Closing a hub.

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/fanout"
)

func TestClose(t *testing.T) {
	t.Parallel()

	t.Run("waits for the subscribers that are being woken", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			release, closed := make(chan struct{}), make(chan struct{})
			var wakes atomic.Int32
			all := 64 * runtime.GOMAXPROCS(0)
			for range all {
				h.Subscribe("room", 0, false, waker(func(*fanout.Cursor) {
					<-release
					wakes.Add(1)
				}))
			}
			for i := range 10 {
				h.Subscribe(fmt.Sprint(i), 0, false, waker(func(*fanout.Cursor) { t.Error("woken after Close") }))
			}
			publish(t, h, "room", 0, "x")
			synctest.Wait()
			go func() {
				h.Close()
				close(closed)
			}()
			synctest.Wait()
			select {
			case <-closed:
				t.Error("Close returned while a subscriber was being woken")
			default:
			}
			close(release)
			<-closed
			if got := wakes.Load(); got == 0 || int(got) == all {
				t.Errorf("%d of %d woken, want only those that were being woken", got, all)
			}
			for i := range 10 {
				h.Publish(fmt.Sprint(i), text, nil, 0)
			}
			h.Close()
			synctest.Wait()
		})
	})

	t.Run("leaves cursors their unread messages", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 0, false, &a)
			publish(t, h, "room", 0, "one")
			h.Close()
			a.read(c)
			a.check(t, "one")
			c.End()
			wantStats(t, h, 0, 0, 0)
		})
	})
}
