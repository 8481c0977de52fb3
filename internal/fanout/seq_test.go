package fanout_test

// Messages that carry their numbers.

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

// seqText makes a message of its number.
func seqText(seq uint64) (byte, []byte, error) { return text, strconv.AppendUint(nil, seq, 10), nil }

func TestPublishSeq(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		h.Subscribe("room", 1, false, &a)
		var want []string
		for range 3 {
			before, calls := h.Order(), 0
			seq, err := h.PublishSeq("room", 0, func(seq uint64) (byte, []byte, error) {
				calls++
				return seqText(seq)
			})
			if err != nil || calls != 1 || seq <= before || h.Order() != seq {
				t.Errorf("number %d, %d calls, Order %d before and %d after, %v", seq, calls, before, h.Order(), err)
			}
			want = append(want, strconv.FormatUint(seq, 10))
		}
		synctest.Wait()
		a.check(t, want...)
	})
}

// TestPublishSeqBesideOthers has many publish at once, with and without numbers in their messages. The numbers rise in the
// topic, and each message carries its own.
func TestPublishSeqBesideOthers(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var a peer
		h.Subscribe("room", 1, false, &a)
		const publishers, each = 4, 500
		var all sync.WaitGroup
		for i := range publishers {
			all.Go(func() {
				for range each {
					h.PublishSeq("room", 0, func(seq uint64) (byte, []byte, error) {
						runtime.Gosched()
						return seqText(seq)
					})
					h.Publish([]string{"room", "hall"}[i%2], text, []byte("x"), 0)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		last, n := uint64(0), 0
		for _, m := range a.got {
			if m == "x" {
				continue
			}
			seq, err := strconv.ParseUint(m, 10, 64)
			if err != nil || seq <= last {
				t.Fatalf("number %q after %d", m, last)
			}
			last, n = seq, n+1
		}
		if n != publishers*each || len(a.got) != n+publishers/2*each {
			t.Errorf("got %d numbers in %d messages, want %d in %d", n, len(a.got), publishers*each, publishers*each*3/2)
		}
	})
}

// TestPublishSeqThatFails has a message that cannot be made or published. The topic continues as before.
func TestPublishSeqThatFails(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong")
	large := &fanout.TooLargeError{Bytes: 103, Max: 102}
	for name, c := range map[string]struct {
		f    func(uint64) (byte, []byte, error)
		want error
	}{
		"error":     {func(uint64) (byte, []byte, error) { return 0, nil, wrong }, wrong},
		"too large": {func(uint64) (byte, []byte, error) { return text, make([]byte, 101), nil }, large},
		"panic":     {func(uint64) (byte, []byte, error) { panic(wrong) }, wrong},
	} {
		for _, history := range []int{0, 3} {
			t.Run(name+" with history "+strconv.Itoa(history), func(t *testing.T) {
				cfg := fanout.Config{MaxBytes: 102, HistoryMessages: history, HistoryAge: time.Hour}
				inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
					checkPublishSeqFails(t, h, c.f, c.want)
				})
			})
		}
	}
}

// publishSeq returns PublishSeq's error, or what f panics with.
func publishSeq(h *fanout.Hub, topic string, f func(uint64) (byte, []byte, error)) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	_, err = h.PublishSeq(topic, 0, f)
	return err
}

func checkPublishSeqFails(t *testing.T, h *fanout.Hub, f func(uint64) (byte, []byte, error), want error) {
	same := func(err error) bool {
		var large *fanout.TooLargeError
		return err == want || errors.As(err, &large) && strings.Contains(want.Error(), large.Error())
	}
	if err := publishSeq(h, "nobody's", f); !same(err) {
		t.Errorf("on a topic that nobody is on: %v, want %v", err, want)
	}
	wantStats(t, h, 0, 0, 0)
	var a peer
	c := h.Subscribe("room", 1, false, &a)
	publish(t, h, "room", 0, "before")
	synctest.Wait()
	if err := publishSeq(h, "room", f); !same(err) {
		t.Errorf("got %v, want %v", err, want)
	}
	if got, err := c.Peek(h.Order()); got != nil || err != nil || c.Pending() != 0 {
		t.Errorf("after it: %q, %v, %d pending, want nothing", got, err, c.Pending())
	}
	numbers := publish(t, h, "room", 0, "after")
	seq, err := h.PublishSeq("room", 0, seqText)
	if err != nil || seq <= numbers[0] {
		t.Errorf("number %d after %d: %v", seq, numbers[0], err)
	}
	synctest.Wait()
	a.check(t, "before", "after", strconv.FormatUint(seq, 10))
}

// TestPublishSeqCompresses has a message that is made under the lock be compressed for subscribers that want it so.
func TestPublishSeqCompresses(t *testing.T) {
	inBubble(t, deflating, func(t *testing.T, h *fanout.Hub) {
		var plain, deflated peer
		h.Subscribe("room", 1, false, &plain)
		h.Subscribe("room", 2, true, &deflated)
		if _, err := h.PublishSeq("room", 0, func(uint64) (byte, []byte, error) { return text, []byte(long), nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		plain.check(t, long)
		if deflated.check(t, long); plain.frames != 0 || deflated.frames != 1 {
			t.Errorf("%d and %d frames compressed, want 0 and 1", plain.frames, deflated.frames)
		}
	})
}

// TestPublishSeqLeavesNothing publishes to a topic without subscribers.
func TestPublishSeqLeavesNothing(t *testing.T) {
	inBubble(t, fanout.Config{}, func(t *testing.T, h *fanout.Hub) {
		var given []uint64
		seq, err := h.PublishSeq("room", 0, func(seq uint64) (byte, []byte, error) {
			given = append(given, seq)
			return text, nil, nil
		})
		if err != nil || seq != h.Order() || !slices.Equal(given, []uint64{seq}) {
			t.Errorf("number %d, given %d, Order %d, %v", seq, given, h.Order(), err)
		}
		wantStats(t, h, 0, 0, 0)
	})
}
