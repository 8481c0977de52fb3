package fanout_test

// The subscribers that the tests publish to.

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"testing"

	"example.com/hail/internal/fanout"
	"example.com/hail/internal/wire"
)

const text = wire.Fin | wire.Text

// peer is a subscriber that reads everything when it is woken, unless it is stalled.
type peer struct {
	mu      sync.Mutex
	stalled bool
	got     []string // messages in order
	frames  int      // those that were compressed
	behind  *fanout.BehindError
	wakes   int
}

func (p *peer) Wake(c *fanout.Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakes++
	if !p.stalled {
		p.readLocked(c)
	}
}

// read reads everything, as a connection does that can be written to again.
func (p *peer) read(c *fanout.Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readLocked(c)
}

func (p *peer) readLocked(c *fanout.Cursor) {
	for {
		b, err := c.Peek(math.MaxUint64)
		if err != nil {
			errors.As(err, &p.behind)
			return
		}
		if b == nil {
			return
		}
		messages, compressed, err := decode(b)
		if err != nil {
			panic(err)
		}
		p.got = append(p.got, messages...)
		p.frames += compressed
		if n := c.Skip(len(b)); n != len(b) {
			panic(fmt.Sprintf("Skip(%d) = %d", len(b), n))
		}
	}
}

func (p *peer) check(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.got, want) {
		t.Errorf("got %s, want %s", short(p.got), short(want))
	}
}

func short(all []string) string {
	if len(all) > 20 {
		return fmt.Sprintf("%d: %.20q and so on", len(all), all[:20])
	}
	return fmt.Sprintf("%d: %.20q", len(all), all)
}

// decode returns the messages in whole frames, and how many of them were compressed.
func decode(b []byte) (messages []string, compressed int, err error) {
	var inflater io.Reader
	for len(b) > 0 {
		h, n := wire.Parse(b)
		if n == 0 || uint64(len(b)-n) < h.Length {
			return nil, 0, fmt.Errorf("%d bytes are no whole frame", len(b))
		}
		p := b[n : n+int(h.Length)]
		b = b[n+int(h.Length):]
		if h.Compressed() {
			compressed++
			tail := []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}
			if inflater == nil {
				inflater = flate.NewReader(nil)
			}
			inflater.(flate.Resetter).Reset(bytes.NewReader(append(slices.Clip(p), tail...)), nil)
			if p, err = io.ReadAll(inflater); err != nil {
				return nil, 0, err
			}
		}
		if h.First&^wire.RSV1 != text {
			return nil, 0, fmt.Errorf("first byte %#x", h.First)
		}
		messages = append(messages, string(p))
	}
	return messages, compressed, nil
}

// publish publishes messages and returns their numbers. It fails the test if one is refused.
func publish(t *testing.T, h *fanout.Hub, topic string, sender uint64, messages ...string) (numbers []uint64) {
	t.Helper()
	for _, m := range messages {
		seq, err := h.Publish(topic, text, []byte(m), sender)
		if err != nil {
			t.Fatalf("Publish(%q, %.20q): %v", topic, m, err)
		}
		numbers = append(numbers, seq)
	}
	return numbers
}

// broadcast broadcasts messages. It fails the test if one is refused.
func broadcast(t *testing.T, h *fanout.Hub, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := h.Broadcast(text, []byte(m)); err != nil {
			t.Fatalf("Broadcast(%.20q): %v", m, err)
		}
	}
}

// wantStats compares all numbers except the bytes.
func wantStats(t *testing.T, h *fanout.Hub, topics, cursors, chunks int) {
	t.Helper()
	got := h.Stats()
	want := fanout.Stats{Topics: topics, Cursors: cursors, Chunks: chunks, Bytes: got.Bytes}
	if got != want || chunks == 0 && got.Bytes != 0 {
		t.Errorf("hub holds %+v, want %+v", got, want)
	}
}
