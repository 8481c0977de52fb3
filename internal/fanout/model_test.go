package fanout_test

// Connections that publish, subscribe and leave at random, all at once. The messages that each subscription got are
// checked against the published ones.

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/fanout"
)

func TestModel(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]fanout.Config{
		"without bounds": {},
		"messages":       {MaxMessages: 40},
		"bytes":          {MaxBytes: 2 << 10},
		"history":        {MaxBytes: 64 << 10, HistoryMessages: 20, HistoryAge: time.Hour},
	} {
		cfg.Deflate, cfg.DeflateFrom = true, 200
		t.Run(name, func(t *testing.T) {
			inBubble(t, cfg, func(t *testing.T, h *fanout.Hub) {
				m := &model{hub: h, cfg: cfg, seed: rand.Uint64()}
				m.run(t)
			})
		})
	}
}

// model is a run.
type model struct {
	hub     *fanout.Hub
	cfg     fanout.Config
	seed    uint64
	clients []*client
}

// said is a published message.
type said struct {
	topic  string
	seq    uint64
	sender uint64
	text   string
}

// client is a connection.
type client struct {
	m    *model
	id   uint64
	rng  *rand.Rand // of its own goroutine
	said []said

	mu   sync.Mutex
	dice *rand.Rand // under mu
	subs map[*fanout.Cursor]*sub
	old  []*sub
}

// mode is how a subscription is read.
type mode int

const (
	quick   mode = iota // all there is
	slow                // a part of it
	stalled             // nothing
)

// sub is a subscription and the bytes that it got. begin and end hold the latest number before and after each.
type sub struct {
	cursor   *fanout.Cursor
	topic    string
	deflate  bool
	mode     mode
	bytes    []byte
	sends    []send
	begin    [2]uint64
	end      [2]uint64
	since    uint64 // 0: none
	complete bool
	dropped  bool
	behind   *fanout.BehindError
}

// send is a message of the connection's own. Messages with numbers up to seq come before it.
type send struct {
	seq uint64
	at  int // in bytes
}

func (c *client) Wake(cursor *fanout.Cursor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subs[cursor]
	if s == nil {
		return // the cursor is just being made, or was dropped
	}
	switch s.mode {
	case quick:
		for c.readLocked(s, math.MaxUint64, true) {
		}
	case slow:
		c.readLocked(s, math.MaxUint64, c.dice.IntN(2) == 0)
	case stalled:
		c.dropFallenLocked(s)
	}
}

// readLocked reads the result of one Peek, or a part of it, and reports whether there may be more.
func (c *client) readLocked(s *sub, upto uint64, all bool) bool {
	b, err := s.cursor.Peek(upto)
	if err != nil {
		c.dropFallenLocked(s)
		return false
	}
	n := len(b)
	if !all && n > 0 {
		n = c.dice.IntN(n) + 1
	}
	s.bytes = append(s.bytes, b[:s.cursor.Skip(n)]...)
	return n > 0
}

// dropFallenLocked drops the subscription if it has fallen off.
func (c *client) dropFallenLocked(s *sub) {
	if !s.cursor.Fallen() || s.behind != nil {
		return
	}
	_, err := s.cursor.Peek(0)
	if !errors.As(err, &s.behind) {
		panic(fmt.Sprintf("fallen off, but Peek returned %v", err))
	}
	c.dropLocked(s)
}

func (c *client) dropLocked(s *sub) {
	if s.end[0] == 0 {
		s.end = [2]uint64{c.m.hub.Order(), math.MaxInt64}
	}
	s.dropped = true
	s.cursor.Drop()
	delete(c.subs, s.cursor)
	c.old = append(c.old, s)
}

func (m *model) run(t *testing.T) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", m.seed)
		}
	}()
	const clients, steps = 12, 200
	var running sync.WaitGroup
	for id := range uint64(clients) {
		c := &client{m: m, id: id + 1, subs: make(map[*fanout.Cursor]*sub)}
		c.rng, c.dice = rand.New(rand.NewPCG(m.seed, c.id)), rand.New(rand.NewPCG(c.id, m.seed))
		m.clients = append(m.clients, c)
	}
	for _, c := range m.clients {
		running.Go(func() {
			for range steps {
				c.step()
			}
		})
	}
	running.Wait()
	synctest.Wait()
	for _, c := range m.clients {
		c.finish(t)
	}
	if m.cfg.HistoryAge == 0 {
		wantStats(t, m.hub, 0, 0, 0)
	} else {
		time.Sleep(m.cfg.HistoryAge)
		synctest.Wait()
		wantStats(t, m.hub, 0, 0, 0)
	}
	m.check(t)
}

// step does a random thing.
func (c *client) step() {
	switch n := c.rng.IntN(20); {
	case n < 9:
		c.publish()
	case n == 9:
		c.publishSeq()
	case n < 13:
		c.subscribe()
	default:
		c.change(n)
	}
}

func (c *client) topic() string { return fmt.Sprint(min(c.rng.IntN(6), c.rng.IntN(6))) }

// message returns a sender and a text that nobody else publishes.
func (c *client) message() (sender uint64, text string) {
	text = fmt.Sprintf("%d.%d", c.id, len(c.said))
	if c.rng.IntN(16) == 0 {
		text += strings.Repeat(" and so on", c.rng.IntN(60))
	}
	if c.rng.IntN(2) == 0 {
		sender = c.id
	}
	return sender, text
}

func (c *client) publish() {
	topic := c.topic()
	for range c.rng.IntN(4) + 1 {
		sender, m := c.message()
		seq, err := c.m.hub.Publish(topic, text, []byte(m), sender)
		if err != nil {
			panic(err)
		}
		c.said = append(c.said, said{topic, seq, sender, m})
		if c.m.hub.Order() < seq {
			panic("a number above Order")
		}
	}
}

func (c *client) publishSeq() {
	topic := c.topic()
	sender, m := c.message()
	var given uint64
	seq, err := c.m.hub.PublishSeq(topic, sender, func(seq uint64) (byte, []byte, error) {
		given = seq
		return text, fmt.Append(nil, m, "#", seq), nil
	})
	if err != nil || seq != given {
		panic(fmt.Sprint(seq, given, err))
	}
	c.said = append(c.said, said{topic, seq, sender, fmt.Sprint(m, "#", seq)})
}

func (c *client) subscribe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.subs) > 4 {
		return
	}
	h := c.m.hub
	s := &sub{topic: c.topic(), deflate: c.rng.IntN(2) == 0, mode: mode(c.rng.IntN(3))}
	s.begin[0] = h.Order()
	if c.rng.IntN(3) == 0 {
		s.since = s.begin[0] - c.rng.Uint64N(30)
		s.cursor, s.complete = h.SubscribeSince(s.topic, s.since, c.id, s.deflate, c)
	} else {
		s.cursor = h.Subscribe(s.topic, c.id, s.deflate, c)
	}
	s.begin[1] = h.Order()
	if s.cursor.Topic() != s.topic {
		panic(s.cursor.Topic())
	}
	c.subs[s.cursor] = s
	if s.mode == quick {
		for c.readLocked(s, math.MaxUint64, true) {
		}
	}
}

// change does a random thing with one of the subscriptions.
func (c *client) change(what int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		switch {
		case what < 16:
			c.sendLocked(s)
		case what < 18:
			if s.mode = mode(c.rng.IntN(3)); s.mode == quick {
				for c.readLocked(s, math.MaxUint64, true) {
				}
			}
		case what == 18:
			c.dropLocked(s)
		case s.end[0] == 0:
			s.end[0] = c.m.hub.Order()
			s.cursor.End()
			s.end[1] = c.m.hub.Order()
		}
		return // the first in a map is a random one
	}
}

// sendLocked sends a message of the connection's own, after the messages that were published before.
func (c *client) sendLocked(s *sub) {
	seq := c.m.hub.Order()
	for c.readLocked(s, seq, true) {
	}
	if s.behind == nil {
		s.sends = append(s.sends, send{seq, len(s.bytes)})
	}
}

// finish ends all subscriptions. The quick ones must have been woken for all messages.
func (c *client) finish(t *testing.T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if n := s.cursor.Pending(); s.mode == quick && n != 0 {
			t.Errorf("client %d on %q was not woken for %d messages", c.id, s.topic, n)
		}
		if s.end[0] == 0 {
			s.end[0] = c.m.hub.Order()
			s.cursor.End()
			s.end[1] = s.end[0]
		}
		for c.readLocked(s, math.MaxUint64, true) {
		}
		if s.behind != nil {
			continue // dropped
		}
		if !s.cursor.Drained() {
			t.Errorf("client %d on %q is not drained", c.id, s.topic)
		}
		c.old = append(c.old, s)
	}
}
