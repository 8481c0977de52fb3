package fanout_test

// Checks of the messages that the model's subscriptions got against the published ones.

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"example.com/hail/internal/fanout"
)

// check checks every subscription against the published messages.
func (m *model) check(t *testing.T) {
	all := make(map[string][]said)
	for _, c := range m.clients {
		for _, s := range c.said {
			all[s.topic] = append(all[s.topic], s)
		}
	}
	for _, topic := range all {
		slices.SortFunc(topic, func(a, b said) int { return cmp.Compare(a.seq, b.seq) })
	}
	var subs, got, lost, compressed int
	for _, c := range m.clients {
		for _, s := range c.old {
			n, z, err := s.check(c.id, all[s.topic], m.cfg)
			if err != nil {
				t.Errorf("client %d on %q: %v", c.id, s.topic, err)
			}
			subs, got, compressed = subs+1, got+n, compressed+z
			if s.behind != nil {
				lost++
			}
		}
	}
	if got == 0 || compressed == 0 || lost == 0 && m.cfg.MaxMessages > 0 {
		t.Errorf("%d subscriptions got %d messages, %d compressed, %d fell off: nothing was tested", subs, got, compressed, lost)
	}
}

// check returns how many messages the subscription got, and how many of them compressed.
func (s *sub) check(id uint64, all []said, cfg fanout.Config) (n, compressed int, err error) {
	got, compressed, err := decode(s.bytes)
	if err != nil {
		return 0, 0, err
	}
	if compressed > 0 && !s.deflate {
		return 0, 0, fmt.Errorf("%d compressed messages, unasked", compressed)
	}
	all = slices.DeleteFunc(slices.Clone(all), func(m said) bool { return m.sender == id })
	find := func(seq uint64) int { // the first with a larger number
		i, _ := slices.BinarySearchFunc(all, seq+1, func(m said, seq uint64) int { return cmp.Compare(m.seq, seq) })
		return i
	}
	// The first message that it may begin with, and the last.
	first, last := find(s.begin[0]), find(s.begin[1])
	if s.since != 0 {
		first = find(s.since)
		if s.complete {
			last = first
		}
	}
	start := first
	for len(got) > 0 && start < len(all) && all[start].text != got[0] {
		start++
	}
	if len(got) == 0 {
		start = last
	}
	if start > last {
		return 0, 0, fmt.Errorf("begins with message %d, want %d to %d", start, first, last)
	}
	for i, text := range got {
		if start+i == len(all) || all[start+i].text != text {
			return 0, 0, fmt.Errorf("message %d is %.20q, not the one that follows on %.20q", i, text, got[max(0, i-1)])
		}
	}
	end := start + len(got)
	if end > find(s.end[1]) && len(got) > 0 {
		return 0, 0, fmt.Errorf("ends with message %d, want at most %d", end, find(s.end[1]))
	}
	if !s.dropped && end < find(s.end[0]) {
		return 0, 0, fmt.Errorf("ends with message %d, want at least %d", end, find(s.end[0]))
	}
	at, read := 0, start
	for _, send := range s.sends {
		before, _, err := decode(s.bytes[at:send.at])
		at, read = send.at, read+len(before)
		if want := min(find(send.seq), find(s.end[0])); err != nil || read < want && len(got) > 0 {
			return 0, 0, fmt.Errorf("%d messages before one that was sent after %d, %v", read, want, err)
		}
	}
	return len(got), compressed, s.checkBehind(cfg)
}

// checkBehind checks that the subscription had a reason to fall off.
func (s *sub) checkBehind(cfg fanout.Config) error {
	switch b := s.behind; {
	case b == nil:
		return nil
	case b.Topic != s.topic:
		return fmt.Errorf("fell off %q", b.Topic)
	case cfg.MaxMessages > 0 && b.Bound == fanout.Messages && b.Messages > cfg.MaxMessages:
		return nil
	case cfg.MaxBytes > 0 && b.Bound == fanout.Bytes:
		return nil
	}
	return fmt.Errorf("fell off with bounds %d and %d: %v", cfg.MaxMessages, cfg.MaxBytes, s.behind)
}
