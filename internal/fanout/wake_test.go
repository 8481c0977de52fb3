package fanout_test

// Waking: who is woken, when, and by whom.

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

// waker is a target that does something of its own.
type waker func(c *fanout.Cursor)

func (w waker) Wake(c *fanout.Cursor) { w(c) }

func TestKeepUp(t *testing.T) {
	t.Parallel()
	// Each publisher may be a message ahead of the waking.
	for name, c := range map[string]struct {
		cfg        fanout.Config
		publishers int
	}{
		"one message":   {fanout.Config{MaxMessages: 1}, 1},
		"one by bytes":  {fanout.Config{MaxBytes: 4}, 1},
		"some messages": {fanout.Config{MaxMessages: 20}, 4},
		"some bytes":    {fanout.Config{MaxBytes: 80}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.cfg, func(t *testing.T, h *fanout.Hub) {
				const each = 250
				peers := make([]peer, 50)
				for i := range peers {
					h.Subscribe("room", uint64(i+1), false, &peers[i])
				}
				var publishers sync.WaitGroup
				for range c.publishers {
					publishers.Go(func() {
						for range each {
							h.Publish("room", text, []byte("x"), 0)
						}
					})
				}
				publishers.Wait()
				synctest.Wait()
				for i := range peers {
					p := &peers[i]
					if p.behind != nil || len(p.got) != each*c.publishers {
						t.Fatalf("peer %d got %d messages of %d: %v", i, len(p.got), each*c.publishers, p.behind)
					}
				}
			})
		})
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	t.Run("comes once for each subscriber with unread messages", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			peers := make([]peer, 5000)
			for i := range peers {
				h.Subscribe("room", uint64(i+1), false, &peers[i])
			}
			publish(t, h, "room", 7, "one")
			synctest.Wait()
			for i := range peers {
				want := 1
				if i == 6 {
					want = 0 // the sender
				}
				if got := peers[i].wakes; got != want || len(peers[i].got) != want {
					t.Errorf("peer %d was woken %d times and got %d messages, want %d", i, got, len(peers[i].got), want)
				}
			}
		})
	})

	t.Run("may use the hub and the cursor", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var later peer
			h.Subscribe("room", 0, false, waker(func(c *fanout.Cursor) {
				h.Stats()
				for range h.Topics() {
				}
				h.Subscribe("room", 0, false, &later)
				c.Drop()
			}))
			publish(t, h, "room", 0, "one")
			synctest.Wait()
			publish(t, h, "room", 0, "two")
			synctest.Wait()
			later.check(t, "two")
			wantStats(t, h, 1, 1, 0)
		})
	})
}

func TestWakeIsShared(t *testing.T) {
	t.Parallel()
	t.Run("is shared by several goroutines if there are many subscribers", func(t *testing.T) {
		if runtime.GOMAXPROCS(0) < 2 {
			t.Skip("needs two processors")
		}
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			// Each waits for the other.
			var first sync.Once
			met := make(chan struct{})
			meet := waker(func(*fanout.Cursor) {
				waits := false
				first.Do(func() { waits = true })
				if waits {
					<-met
				} else {
					select {
					case <-met:
					default:
						close(met)
					}
				}
			})
			var mu sync.Mutex
			for range 100 {
				h.Subscribe("room", 0, false, waker(func(c *fanout.Cursor) {
					select {
					case <-met:
					default:
						meet(c)
					}
					mu.Lock()
					defer mu.Unlock()
					c.Drop()
				}))
			}
			publish(t, h, "room", 0, "one")
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})
}

func TestWakeIsNotLost(t *testing.T) {
	t.Parallel()
	t.Run("comes however workers end and begin", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var publishers sync.WaitGroup
			for i := range 4 * runtime.GOMAXPROCS(0) {
				publishers.Go(func() {
					woken := make(chan struct{}, 1)
					name := fmt.Sprint(i)
					c := h.Subscribe(name, 0, false, waker(func(c *fanout.Cursor) {
						p, _ := c.Peek(h.Order())
						c.Skip(len(p))
						woken <- struct{}{}
					}))
					defer c.Drop()
					for range 500 {
						h.Publish(name, text, nil, 0)
						<-woken // blocks for ever if the wake is lost
					}
				})
			}
			publishers.Wait()
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("comes to a subscriber that joins after all have left", func(t *testing.T) {
		inBubble(t, fanout.Config{HistoryMessages: 1, HistoryAge: time.Hour}, func(t *testing.T, h *fanout.Hub) {
			for i := range 100 {
				name := fmt.Sprint(i)
				c := h.Subscribe(name, 0, false, new(peer))
				publish(t, h, name, 0, "one")
				c.Drop() // most likely before a worker comes
				synctest.Wait()
				var later peer
				h.Subscribe(name, 0, false, &later)
				publish(t, h, name, 0, "two")
				synctest.Wait()
				later.check(t, "two")
			}
		})
	})
}

func TestWakeTakesTurns(t *testing.T) {
	t.Parallel()
	t.Run("comes to a small topic during the round of a large one", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			const turn = 2048 // subscribers that a worker wakes before other topics have theirs
			workers := runtime.GOMAXPROCS(0)
			var woken atomic.Int32
			begin, small := make(chan struct{}), make(chan struct{})
			for range turn * (workers + 2) {
				h.Subscribe("large", 0, false, waker(func(*fanout.Cursor) {
					<-begin
					if woken.Add(1) > int32(turn*workers) {
						<-small // in a worker's second turn: if the small topic waits for the rest of the large one, all wait for ever
					}
				}))
			}
			h.Subscribe("small", 0, false, waker(func(*fanout.Cursor) { close(small) }))
			publish(t, h, "large", 0, "x")
			publish(t, h, "small", 0, "x")
			close(begin)
			<-small
			synctest.Wait()
			if got, want := int(woken.Load()), turn*(workers+2); got != want {
				t.Errorf("woken %d subscribers of the large topic, want %d", got, want)
			}
		})
	})

	t.Run("comes to topics in the order of their messages", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			release := make(chan struct{})
			workers := runtime.GOMAXPROCS(0)
			for i := range workers {
				name := fmt.Sprint("busy", i)
				h.Subscribe(name, 0, false, waker(func(*fanout.Cursor) { <-release }))
				publish(t, h, name, 0, "x")
			}
			synctest.Wait() // every worker is in Wake
			var got, want []string
			for i := range 10 {
				want = append(want, fmt.Sprint(i))
				h.Subscribe(want[i], 0, false, waker(func(c *fanout.Cursor) { got = append(got, c.Topic()) }))
				publish(t, h, want[i], 0, "x")
			}
			synctest.Wait()
			if len(got) != 0 {
				t.Errorf("more than %d workers", workers)
			}
			release <- struct{}{} // to one of them
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Errorf("woken in the order %v, want %v", got, want)
			}
			close(release)
		})
	})
}

func TestWakeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	t.Run("delays no publisher for long", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 100}, func(t *testing.T, h *fanout.Hub) {
			release := make(chan struct{})
			h.Subscribe("room", 0, false, waker(func(*fanout.Cursor) { <-release }))
			synctest.Wait()
			publish(t, h, "room", 0, "x")
			synctest.Wait() // a worker is in Wake
			for i := range 200 {
				start := time.Now()
				publish(t, h, "room", 0, "x")
				waited, most := time.Since(start), time.Duration(0)
				if i >= 48 {
					most = 10 * time.Millisecond
				}
				if waited > most {
					t.Fatalf("message %d waited %v, want at most %v", i, waited, most)
				}
			}
			close(release)
		})
	})

	t.Run("of one topic does not wait for another's", func(t *testing.T) {
		if runtime.GOMAXPROCS(0) < 2 {
			t.Skip("needs two processors")
		}
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			release := make(chan struct{})
			h.Subscribe("slow", 0, false, waker(func(*fanout.Cursor) { <-release }))
			publish(t, h, "slow", 0, "x")
			var peers [10]peer
			for i := range peers {
				h.Subscribe(fmt.Sprint(i), 0, false, &peers[i])
				publish(t, h, fmt.Sprint(i), 0, "x")
			}
			synctest.Wait()
			for i := range peers {
				peers[i].check(t, "x")
			}
			close(release)
		})
	})
}
