package fanout_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

// since subscribes and reads the messages that the topic still has.
func since(t *testing.T, h *fanout.Hub, topic string, seq uint64) (got *peer, complete bool) {
	t.Helper()
	got = new(peer)
	c, complete := h.SubscribeSince(topic, seq, 99, false, got)
	got.read(c)
	c.Drop()
	return got, complete
}

// TestBroadcastHasNoHistory broadcasts to nobody, and to one subscriber.
func TestBroadcastHasNoHistory(t *testing.T) {
	inBubble(t, fanout.Config{HistoryMessages: 10, HistoryAge: time.Hour}, func(t *testing.T, h *fanout.Hub) {
		var all peer
		broadcast(t, h, "nobody's")
		wantStats(t, h, 0, 0, 0)
		c := h.SubscribeAll(false, &all)
		broadcast(t, h, "a", "b")
		synctest.Wait()
		all.check(t, "a", "b")
		wantStats(t, h, 0, 1, 0)
		c.Drop()
		publish(t, h, "room", 0, "kept")
		wantStats(t, h, 1, 0, 1)
	})
}

func TestSince(t *testing.T) {
	t.Parallel()
	t.Run("starts with the messages in the log", func(t *testing.T) {
		inBubble(t, fanout.Config{MaxMessages: 3}, func(t *testing.T, h *fanout.Hub) {
			var quick peer
			slow := peer{stalled: true}
			quickly := h.Subscribe("room", 1, false, &quick)
			slowly := h.Subscribe("room", 2, false, &slow)
			numbers := publish(t, h, "room", 0, "0", "1", "2", "3", "4")
			slowly.Drop()
			slowly = h.Subscribe("room", 2, false, &slow)
			numbers = append(numbers, publish(t, h, "room", 0, "5", "6")...)
			synctest.Wait()
			quick.check(t, "0", "1", "2", "3", "4", "5", "6")
			for _, c := range []struct {
				seq      uint64
				want     string
				complete bool
			}{
				{0, "56", false},
				{numbers[3], "56", false},
				{numbers[4] - 1, "56", false},
				{numbers[4], "56", true},
				{numbers[5] - 1, "56", true},
				{numbers[5], "6", true},
				{numbers[6], "", true},
				{numbers[6] + 1000, "", false},
			} {
				got, complete := since(t, h, "room", c.seq)
				got.check(t, strings.Split(c.want, "")...)
				if complete != c.complete {
					t.Errorf("since %d: complete %v, want %v", c.seq, complete, c.complete)
				}
			}
			quickly.Drop()
			slowly.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("continues with new messages", func(t *testing.T) {
		inBubble(t, fanout.Config{HistoryMessages: 10, HistoryAge: time.Hour}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			numbers := publish(t, h, "room", 0, "one", "two", "three")
			c, complete := h.SubscribeSince("room", numbers[0], 1, false, &a)
			if got := c.Pending(); got != 2 || !complete {
				t.Errorf("%d pending, complete %v, want 2 and true", got, complete)
			}
			publish(t, h, "room", 0, "four")
			synctest.Wait()
			a.check(t, "two", "three", "four")
		})
	})
}

func TestSinceIsComplete(t *testing.T) {
	t.Parallel()
	t.Run("knows which messages the limits have dropped", func(t *testing.T) {
		for name, cfg := range map[string]fanout.Config{"messages": {MaxMessages: 3}, "bytes": {MaxBytes: 9}} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
					h.Subscribe("room", 1, false, &peer{stalled: true})
					numbers := publish(t, h, "room", 0, "0")
					h.Subscribe("room", 2, false, &peer{stalled: true}) // has the log keep the others
					publish(t, h, "room", 0, "1", "2", "3")
					for seq, want := range map[uint64]bool{numbers[0] - 1: false, numbers[0]: true} {
						got, complete := since(t, h, "room", seq)
						if got.check(t, "1", "2", "3"); complete != want {
							t.Errorf("since %d: complete %v, want %v", seq, complete, want)
						}
					}
				})
			})
		}
	})

	t.Run("is complete beside a cursor that has ended", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			slow := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &slow)
			seq := publish(t, h, "room", 0, "one")[0]
			c.End()
			publish(t, h, "room", 0, "two")
			got, complete := since(t, h, "room", seq)
			if got.check(t, "two"); !complete {
				t.Error("not complete")
			}
			slow.read(c)
			slow.check(t, "one")
			wantStats(t, h, 0, 0, 0)
		})
	})
}

func TestSinceIsNotComplete(t *testing.T) {
	t.Parallel()
	t.Run("is not complete if a message had no topic", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			c := h.Subscribe("room", 1, false, new(peer))
			seq := publish(t, h, "room", 0, "one")[0]
			synctest.Wait()
			c.Drop()
			if _, complete := since(t, h, "room", seq); !complete {
				t.Error("not complete though nothing was published")
			}
			publish(t, h, "room", 0, "two")
			if _, complete := since(t, h, "room", seq); complete {
				t.Error("complete without a message that nobody got")
			}
		})
	})

	t.Run("is not complete before the topic's creation", func(t *testing.T) {
		inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
			var a peer
			h.Subscribe("hall", 1, false, &a)
			before := publish(t, h, "hall", 0, "x")[0]
			for seq, want := range map[uint64]bool{0: false, before - 1: false, before: true, before + 1: false} {
				if _, complete := since(t, h, "room", seq); complete != want {
					t.Errorf("since %d: complete %v, want %v", int(seq-before), complete, want)
				}
			}
		})
	})
}

// shortHistory has a short history.
var shortHistory = fanout.Config{HistoryMessages: 3, HistoryAge: time.Minute}

func TestHistory(t *testing.T) {
	t.Parallel()
	t.Run("outlives subscribers", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			var a peer
			c := h.Subscribe("room", 1, false, &a)
			numbers := publish(t, h, "room", 0, "0", "1", "2", "3", "4")
			synctest.Wait()
			c.Drop()
			wantStats(t, h, 1, 0, 1)
			if got, want := maps.Collect(h.Topics()), map[string]int{"room": 0}; !maps.Equal(got, want) {
				t.Errorf("topics %v, want %v", got, want)
			}
			got, complete := since(t, h, "room", 0)
			got.check(t, "2", "3", "4")
			if complete {
				t.Error("complete without the first two")
			}
			got, complete = since(t, h, "room", numbers[1])
			got.check(t, "2", "3", "4")
			if !complete {
				t.Error("not complete with all messages after the second")
			}
		})
	})

	t.Run("is kept if nobody has ever subscribed", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			publish(t, h, "room", 0, "0", "1", "2", "3")
			got, _ := since(t, h, "room", 0)
			got.check(t, "1", "2", "3")
		})
	})

	t.Run("is the same for new subscribers if others are slow", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			slow := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &slow)
			numbers := publish(t, h, "room", 0, "0", "1", "2", "3", "4")
			synctest.Wait()
			got, complete := since(t, h, "room", numbers[0])
			got.check(t, "2", "3", "4")
			if complete {
				t.Error("complete without the second")
			}
			slow.read(c)
			slow.check(t, "0", "1", "2", "3", "4")
		})
	})
}

func TestHistoryAges(t *testing.T) {
	t.Parallel()
	t.Run("ages", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			publish(t, h, "room", 0, "0", "1")
			time.Sleep(30 * time.Second)
			last := publish(t, h, "room", 0, "2")[0]
			time.Sleep(30*time.Second - time.Nanosecond)
			got, _ := since(t, h, "room", 0)
			got.check(t, "0", "1", "2")
			time.Sleep(time.Nanosecond)
			got, _ = since(t, h, "room", 0)
			got.check(t, "2")
			time.Sleep(30*time.Second - time.Nanosecond)
			wantStats(t, h, 1, 0, 1)
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
			if _, complete := since(t, h, "room", last); !complete {
				t.Error("not complete though nothing came since")
			}
		})
	})

	t.Run("ages a message at a time", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			large := strings.Repeat("x", 100_000) // has a chunk to itself
			for range 3 {
				publish(t, h, "room", 0, large)
				time.Sleep(20 * time.Second)
			}
			// All except the last may be dropped a little late.
			late := shortHistory.HistoryAge / 8
			for left := 3; left > 1; left-- {
				time.Sleep(late)
				wantStats(t, h, 1, 0, left-1)
				time.Sleep(20*time.Second - late)
			}
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("ages again", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			for range 3 {
				publish(t, h, "room", 0, "x")
				publish(t, h, "hall", 0, "x")
				wantStats(t, h, 2, 0, 2)
				time.Sleep(shortHistory.HistoryAge + time.Second)
				wantStats(t, h, 0, 0, 0)
			}
		})
	})
}

func TestHistoryAgesBesideOthers(t *testing.T) {
	t.Parallel()
	t.Run("ages while there are subscribers", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			var quick peer
			slow := peer{stalled: true}
			c := h.Subscribe("room", 1, false, &quick)
			d := h.Subscribe("room", 2, false, &slow)
			publish(t, h, "room", 0, "0", "1")
			time.Sleep(time.Hour)
			wantStats(t, h, 1, 2, 1) // for the slow subscriber
			got, _ := since(t, h, "room", 0)
			got.check(t)
			slow.read(d)
			slow.check(t, "0", "1")
			wantStats(t, h, 1, 2, 0)
			publish(t, h, "room", 0, "2")
			time.Sleep(time.Hour)
			wantStats(t, h, 1, 2, 1)
			d.Drop()
			wantStats(t, h, 1, 1, 0)
			c.Drop()
			wantStats(t, h, 0, 0, 0)
		})
	})

	t.Run("ages in many topics", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			const topics = 100
			for i := range topics {
				publish(t, h, fmt.Sprint(i), 0, "x")
				if i%3 == 0 {
					time.Sleep(time.Second)
					publish(t, h, fmt.Sprint(i), 0, "y")
				}
			}
			time.Sleep(time.Minute - time.Nanosecond)
			left := 0
			for range h.Topics() {
				left++
			}
			if left != 1 {
				t.Errorf("%d topics a moment before the last, want 1", left)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})
}

func TestHistoryOfABusyTopic(t *testing.T) {
	t.Parallel()
	t.Run("of a busy topic is its last minute", func(t *testing.T) {
		inBubble(t, fanout.Config{HistoryMessages: 1 << 20, HistoryAge: time.Minute}, func(t *testing.T, h *fanout.Hub) {
			for i := range 1000 {
				publish(t, h, "room", 0, fmt.Sprint(i))
				time.Sleep(100 * time.Millisecond)
			}
			got, _ := since(t, h, "room", 0)
			want := make([]string, 0, 599)
			for i := 401; i < 1000; i++ {
				want = append(want, fmt.Sprint(i))
			}
			got.check(t, want...)
			time.Sleep(time.Minute - 100*time.Millisecond)
			synctest.Wait()
			wantStats(t, h, 0, 0, 0)
		})
	})
}

func TestHistoryEnds(t *testing.T) {
	t.Parallel()
	t.Run("ends with Close", func(t *testing.T) {
		inBubble(t, shortHistory, func(t *testing.T, h *fanout.Hub) {
			publish(t, h, "room", 0, "0")
			h.Close()
			time.Sleep(time.Hour)
			wantStats(t, h, 1, 0, 1) // nothing runs any more
		})
	})
}

func TestHistoryIsCompressed(t *testing.T) {
	t.Parallel()
	t.Run("has compressed frames for new subscribers", func(t *testing.T) {
		cfg := shortHistory
		cfg.Deflate, cfg.DeflateFrom = true, 100
		inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
			long := strings.Repeat("x", 100)
			publish(t, h, "room", 0, long, "short", long)
			var a, b peer
			c, _ := h.SubscribeSince("room", 0, 1, true, &a)
			a.read(c)
			d, _ := h.SubscribeSince("room", 0, 1, false, &b)
			b.read(d)
			a.check(t, long, "short", long)
			b.check(t, long, "short", long)
			if a.frames != 2 || b.frames != 0 {
				t.Errorf("%d and %d frames compressed, want 2 and 0", a.frames, b.frames)
			}
		})
	})
}
