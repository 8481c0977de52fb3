package fanout_test

// Who is woken, when, and by whom.

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
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
	// As many publishers as there are may be ahead of those who wake by a message each.
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
			wantStats(t, h, 1, 11, 0) // nobody can take them any more
		})
	})

	t.Run("free the log when they catch up", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			slow := peer{stalled: true}
			c := h.Subscribe("room", 0, false, &slow)
			publish(t, h, "room", 0, "one")
			synctest.Wait()
			wantStats(t, h, 1, 1, 1)
			slow.take(c)
			wantStats(t, h, 1, 1, 0)
		})
	})

	t.Run("free what all have read", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			slow := [2]peer{{stalled: true}, {stalled: true}}
			c := h.Subscribe("room", 0, false, &slow[0])
			large := strings.Repeat("x", 100_000)
			publish(t, h, "room", 0, large, large)
			h.Subscribe("room", 0, false, &slow[1])
			publish(t, h, "room", 0, large, large)
			synctest.Wait()
			wantStats(t, h, 1, 2, 4)
			slow[0].take(c)
			publish(t, h, "room", 0, large)
			synctest.Wait()
			wantStats(t, h, 1, 2, 3)
		})
	})

	t.Run("are woken no more when they have been dropped", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 1}, func(t *testing.T, h *fanout.Hub) {
			wakes := 0
			h.Subscribe("room", 0, false, waker(func(c *fanout.Cursor) {
				if wakes++; c.Lost() {
					c.Drop()
				}
			}))
			h.Subscribe("room", 0, false, new(peer))
			for range 5 {
				publish(t, h, "room", 0, "x")
				synctest.Wait()
			}
			if wakes != 2 {
				t.Errorf("woken %d times, want once for the first message and once for having lost it", wakes)
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
			slow.take(c)
		}
		slow.check(t, slices.Concat(burst, burst, burst)...)
	})
}

func TestWake(t *testing.T) {
	t.Parallel()

	t.Run("comes once for each subscriber that is behind", func(t *testing.T) {
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

	t.Run("is shared by several goroutines where there are many", func(t *testing.T) {
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
						<-woken // for ever where the wake was lost
					}
				})
			}
			publishers.Wait()
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("comes to who subscribes when all had left", func(t *testing.T) {
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

	t.Run("comes to a small topic in the midst of a large one", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var woken atomic.Int32
			both := make(chan struct{})
			for range 2048 * (runtime.GOMAXPROCS(0) + 2) {
				h.Subscribe("large", 0, false, waker(func(*fanout.Cursor) {
					<-both
					woken.Add(1)
				}))
			}
			before := int32(-1)
			h.Subscribe("small", 0, false, waker(func(*fanout.Cursor) { before = woken.Load() }))
			publish(t, h, "large", 0, "x")
			publish(t, h, "small", 0, "x")
			close(both)
			synctest.Wait()
			if all := woken.Load(); before < 0 || before == all {
				t.Errorf("woken behind %d of %d subscribers of the large one", before, all)
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

	t.Run("keeps no publisher for long", func(t *testing.T) {
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
					t.Fatalf("message %d waited %v, want %v at the most", i, waited, most)
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

func TestClose(t *testing.T) {
	t.Parallel()

	t.Run("waits for who is being woken", func(t *testing.T) {
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
				t.Errorf("%d of %d woken, want those whose turn it was", got, all)
			}
			for i := range 10 {
				h.Publish(fmt.Sprint(i), text, nil, 0)
			}
			h.Close()
			synctest.Wait()
		})
	})

	t.Run("leaves cursors what they have", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			a := peer{stalled: true}
			c := h.Subscribe("room", 0, false, &a)
			publish(t, h, "room", 0, "one")
			h.Close()
			a.take(c)
			a.check(t, "one")
			c.End()
			wantStats(t, h, 0, 0, 0)
		})
	})
}
