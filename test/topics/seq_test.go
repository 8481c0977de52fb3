package topics_test

// Messages that carry their numbers.

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestPublishSeqThatFails has a function that panics, and one whose message is not valid: the topic goes on.
func TestPublishSeqThatFails(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{History: hail.History{Messages: 10}})
		p := hailtest.Dial(t, s, "/?on=room", opts...)
		want(t, p, "hello")
		fault := errors.New("fault")
		panicked := func() (value any) {
			defer func() { value = recover() }()
			return s.PublishSeq("room", func(uint64) hail.Message { panic(fault) })
		}()
		if panicked != fault {
			t.Errorf("PublishSeq with a function that panics: got %v, want its panic", panicked)
		}
		if err := s.PublishSeq("room", func(uint64) hail.Message { return hail.Text("\xff") }); err == nil {
			t.Error("PublishSeq of a text that is not UTF-8: got no error")
		}
		last := uint64(0)
		for range 3 {
			calls := 0
			err := s.PublishSeq("room", func(seq uint64) hail.Message {
				calls++
				return hail.Text(fmt.Sprint(seq))
			})
			if err != nil || calls != 1 {
				t.Fatalf("PublishSeq: %v after %d calls, want one", err, calls)
			}
			seq, err := strconv.ParseUint(p.Receive().String(), 10, 64)
			if err != nil || seq <= last {
				t.Errorf("got number %d after %d: %v", seq, last, err)
			}
			last = seq
		}
		if n := s.Stats().Published; n != 3 {
			t.Errorf("Stats.Published: got %d, want 3", n)
		}
	})
}
