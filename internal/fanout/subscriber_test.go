package fanout_test

// The topics of a subscriber, and those that it has left.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

// TestSubscriber joins and leaves topics at random, few or many, and compares them with a list.
func TestSubscriber(t *testing.T) {
	for _, topics := range []int{6, 100} {
		t.Run(fmt.Sprint(topics), func(t *testing.T) {
			inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
				var a peer
				s := h.NewSubscriber(-1, 1, false, &a)
				cursors := make(map[string]*fanout.Cursor)
				var want []string
				r := rand.New(rand.NewPCG(uint64(topics), 1))
				for range 40 * topics {
					name := fmt.Sprint(r.IntN(topics))
					if r.IntN(2) == 0 {
						c, err := s.Join(name)
						if err != nil || c == nil != slices.Contains(want, name) {
							t.Fatalf("Join(%s): %v, %v, on %q", name, c, err, want)
						}
						if c != nil {
							cursors[name], want = c, append(want, name)
						}
					} else {
						if got := s.Leave(name); got != cursors[name] {
							t.Fatalf("Leave(%s): another cursor than Join's", name)
						}
						delete(cursors, name)
						want = slices.DeleteFunc(want, func(n string) bool { return n == name })
					}
					if got := s.Names(); !slices.Equal(got, want) {
						t.Fatalf("got %q, want %q", got, want)
					}
				}
				wantStats(t, h, len(want), len(want), 0)
			})
		})
	}
}

func TestSubscriberMost(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		for _, most := range []int{0, 1, 20} {
			s := h.NewSubscriber(most, 1, false, &a)
			n := 0
			for ; n < 100; n++ {
				if _, err := s.Join(fmt.Sprint(n)); err != nil {
					if err != fanout.ErrTopics {
						t.Errorf("got %v, want %v", err, fanout.ErrTopics)
					}
					break
				}
			}
			if n != most {
				t.Errorf("joins %d topics, want %d", n, most)
			}
			if n == 0 {
				continue
			}
			if c, err := s.Join("0"); c != nil || err != nil {
				t.Errorf("Join of a topic that it is on: %v, %v, want neither", c, err)
			}
			s.Leave("0")
			if c, _, err := s.Since("other", 1); c == nil || err != nil {
				t.Errorf("Since after Leave: %v, %v, want a cursor", c, err)
			}
		}
	})
}

// TestSubscriberLeft leaves topics with an unread message, and then reads them.
func TestSubscriberLeft(t *testing.T) {
	for _, most := range []int{1, 200, -1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
				a := peer{stalled: true}
				s := h.NewSubscriber(most, 1, false, &a)
				var left []*fanout.Cursor
				visit := func(message bool) error {
					name := fmt.Sprint("room ", len(left))
					c, err := s.Join(name)
					if err != nil {
						return err
					}
					if message {
						publish(t, h, name, 0, name)
						left = append(left, c)
					}
					s.Leave(name)
					return nil
				}
				var err error
				for err == nil && len(left) < 300 {
					visit(false)
					err = visit(true)
				}
				want, wantErr := fanout.MaxLeft, fanout.ErrLeft
				if most < 0 {
					want, wantErr = 300, nil
				}
				if len(left) != want || err != wantErr {
					t.Errorf("leaves %d topics with a message, then %v; want %d, then %v", len(left), err, want, wantErr)
				}
				a.read(left[0])
				if err := visit(true); err != nil {
					t.Errorf("when one is drained: %v", err)
				}
				for _, c := range left {
					a.read(c)
				}
				synctest.Wait()
				if err := visit(false); err != nil {
					t.Errorf("when all are drained: %v", err)
				}
				wantStats(t, h, 0, 0, 0)
			})
		})
	}
}

func TestSubscriberSince(t *testing.T) {
	inBubble(t, fanout.Config{HistoryMessages: 10, HistoryAge: time.Hour}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		s := h.NewSubscriber(1, 1, false, &a)
		numbers := publish(t, h, "room", 0, "one", "two", "three")
		c, complete, err := s.Since("room", numbers[0])
		if c == nil || !complete || err != nil {
			t.Fatalf("got %v, %v, %v", c, complete, err)
		}
		a.read(c)
		a.check(t, "two", "three")
		if c, complete, err := s.Since("room", numbers[0]); c != nil || complete || err != nil {
			t.Errorf("on a topic that it is on: %v, %v, %v", c, complete, err)
		}
		if _, complete, err := s.Since("hall", 1); complete || err != fanout.ErrTopics {
			t.Errorf("on another: %v, %v, want %v", complete, err, fanout.ErrTopics)
		}
	})
}
