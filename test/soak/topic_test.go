package soak_test

// The messages that were published to topics, and those of them that each connection has to get.

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/hail"
)

// The topics of a round. Every connection is on toAll. Topic free has several publishers at once.
var topicNames = []string{"a", "b", "c", toAll, free}

const (
	toAll = "all"
	free  = "free"
)

// topic records the messages of a topic. They are published one at a time, except those of free, so that their
// order is known.
type topic struct {
	name        string
	begun, done atomic.Int64 // publishes

	turn sync.Mutex // held while a message is published; before mu
	over bool       // publishing has stopped, so that a shutdown's connections get all messages; guarded by turn

	mu      sync.Mutex
	entries []entry
	follows map[string]string // of each of free's messages, the next one
}

// entry is a message that was published.
type entry struct {
	number uint64 // 0: not known
	sender *fate  // the connection that does not get it
	behind *fate  // the connection to which its publisher had sent so many messages of the stream before
	stream string
	sent   int
}

// publish publishes the topic's next message, of size bytes, by calling how.
func (rd *round) publish(t *topic, size int, e entry, how publishing) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	if t.over {
		return nil
	}
	t.mu.Lock()
	seq := len(t.entries)
	t.entries = append(t.entries, e) // before a client can receive it
	t.mu.Unlock()
	m := hail.Message{Type: typeOf(seq), Data: compose("topic"+t.name, seq, "-", size)}
	t.begun.Add(1)
	number, err := how(m)
	spoil(m)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.entries = t.entries[:seq]
		t.begun.Add(-1)
		return err
	}
	t.entries[seq].number = number
	t.done.Add(1)
	rd.published.Add(1)
	return nil
}

type publishing func(m hail.Message) (number uint64, err error)

func plainly(f func(hail.Message) error) publishing {
	return func(m hail.Message) (uint64, error) { return 0, f(m) }
}

// numbered publishes with PublishSeq.
func (rd *round) numbered(name string) publishing {
	return func(m hail.Message) (number uint64, err error) {
		err = rd.server.PublishSeq(name, func(seq uint64) hail.Message {
			number = seq
			return m
		})
		return number, err
	}
}

// publishFree publishes n messages to free. Their order is not known, but it is the same for all subscribers.
func (rd *round) publishFree(f *fate, n int) error {
	for range n {
		f.mu.Lock()
		seq := f.free
		f.free++
		f.mu.Unlock()
		m := hail.Message{Type: typeOf(seq), Data: compose(free+f.name, seq, "-", 200)}
		err := rd.server.Publish(free, m)
		spoil(m)
		if err != nil {
			return err
		}
		rd.published.Add(1)
	}
	return nil
}

// bounds are the earliest and the latest possible place of an event in a topic.
type bounds struct{ from, to int }

const never = math.MaxInt

// span is a subscription: the topic's messages from its beginning to its end.
type span struct {
	begin, end bounds
	open       bool
	leaving    bool // Unsubscribe has been called: the connection need not get messages that are published now
}

// following is a connection's subscriptions of a topic, and the messages that it got. Guarded by the fate's mu.
type following struct {
	topic *topic
	spans []span
	got   []int
}

func (fo *following) last() int {
	if len(fo.got) == 0 {
		return -1
	}
	return fo.got[len(fo.got)-1]
}

// current returns the subscription that has not ended, nil if there is none.
func (fo *following) current() *span {
	if n := len(fo.spans); n > 0 && fo.spans[n-1].open {
		return &fo.spans[n-1]
	}
	return nil
}

// untilNow returns a copy of fo whose subscription has to get all messages that were published until now.
func (fo *following) untilNow() *following {
	spans := slices.Clone(fo.spans)
	spans[len(spans)-1].end.from = int(fo.topic.begun.Load())
	return &following{fo.topic, spans, fo.got}
}

// subscribe subscribes, with the topic's history or without.
func (rd *round) subscribe(c *hail.Conn, f *fate, t *topic, history bool) error {
	f.subscribing.Lock()
	defer f.subscribing.Unlock()
	f.mu.Lock()
	fo := f.topics[t.name]
	on := fo.current() != nil
	f.mu.Unlock()
	if on {
		return c.Subscribe(t.name) // changes nothing
	}
	since, number := rd.resumeAt(f, fo)
	done := int(t.done.Load())
	begin := bounds{from: done}
	var err error
	complete := false
	if history && number != 0 {
		complete, err = c.SubscribeSince(t.name, number)
	} else {
		since = -1
		err = c.Subscribe(t.name)
	}
	begin.to = int(t.begun.Load())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if since >= 0 {
		if !complete && rd.keeps(begin.to-since) {
			f.complain("topic %s: SubscribeSince after message %d of %d is not complete", t.name, since, begin.to)
		}
		begin.from = since + 1
		if complete {
			begin.to = since + 1
		}
	}
	fo.spans = append(fo.spans, span{begin: begin, end: bounds{done, never}, open: true})
	return nil
}

// resumeAt draws a message that a client may name as its last: one that was published after its last
// subscription ended.
func (rd *round) resumeAt(f *fate, fo *following) (since int, number uint64) {
	f.mu.Lock()
	first := 0
	if n := len(fo.spans); n > 0 {
		first = fo.spans[n-1].end.to
	}
	f.mu.Unlock()
	t, back := fo.topic, f.draw(60)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := max(first, len(t.entries)-1-back); i < len(t.entries); i++ {
		if t.entries[i].number != 0 {
			return i, t.entries[i].number
		}
	}
	return -1, 0
}

// unsubscribe unsubscribes.
func (rd *round) unsubscribe(c *hail.Conn, f *fate, t *topic) error {
	f.subscribing.Lock()
	defer f.subscribing.Unlock()
	end := bounds{from: int(t.done.Load())}
	f.mu.Lock()
	s := f.topics[t.name].current()
	if s != nil {
		s.leaving = true
	}
	f.mu.Unlock()
	err := c.Unsubscribe(t.name)
	end.to = int(t.begun.Load())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != nil {
		s.end, s.open = end, false
	}
	return nil
}

// connected notes that the connection may be open from now on: it may get broadcasts.
func (rd *round) connected(f *fate) {
	done := int(rd.topics[toAll].done.Load())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topics[toAll].spans = []span{{begin: bounds{done, never}, end: bounds{done, never}, open: true}}
}

// opened notes that the connection has been open since before now: it gets broadcasts.
func (rd *round) opened(f *fate) {
	begun := int(rd.topics[toAll].begun.Load())
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.topics[toAll].spans[0]
	s.begin.to = min(s.begin.to, begun)
}

// alive notes that the connection was not ending when done messages had been published. mu is held.
func (f *fate) alive(done [5]int) {
	for i, name := range topicNames {
		if s := f.topics[name].current(); s != nil && !s.leaving {
			s.end.from = max(s.end.from, done[i])
		}
	}
}

// doneNow returns how many messages have been published to each topic.
func (rd *round) doneNow() (done [5]int) {
	for i, name := range topicNames {
		done[i] = int(rd.topics[name].done.Load())
	}
	return done
}

// arrivedFrom notes a topic's message that the client has read. mu is held.
func (f *fate) arrivedFrom(fo *following, seq int) {
	t := fo.topic
	if last := fo.last(); seq <= last {
		f.complain("topic %s: got message %d after %d", t.name, seq, last)
	}
	fo.got = append(fo.got, seq)
	t.mu.Lock()
	var e entry
	if seq < len(t.entries) {
		e = t.entries[seq]
	}
	t.mu.Unlock()
	if e.behind == f && f.got[e.stream] < e.sent {
		f.disorder("topic %s: got message %d, which follows %d of %s, after %d", t.name, seq, e.sent, e.stream, f.got[e.stream])
	}
}

// arrivedFree notes a message of free that the client has read. mu is held.
func (f *fate) arrivedFree(stream string, seq int) {
	if want, known := f.got[stream]; known && seq != want {
		f.complain("topic %s: got message %d of %s, want %d", free, seq, stream, want)
	}
	f.got[stream] = seq + 1
	t := f.topics[free].topic
	message := fmt.Sprint(stream, " ", seq)
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.lastFree != "" {
		if t.follows == nil {
			t.follows = map[string]string{}
		}
		if other, known := t.follows[f.lastFree]; known && other != message {
			f.complain("topic %s: after %s came %s, and to others %s", free, f.lastFree, message, other)
		}
		t.follows[f.lastFree] = message
	}
	f.lastFree = message
}

// missing returns how many of the topic's messages the connection has not got, at the least and at the most.
// mu is held.
func (f *fate) missing(fo *following, wrong func(string, ...any)) (least, most int) {
	entries, last, ended := fo.topic.entries, fo.last(), int(fo.topic.begun.Load())
	got := make(map[int]bool, len(fo.got))
	for _, seq := range fo.got {
		got[seq] = true
	}
	for seq := range ended {
		must, may := false, false
		for _, s := range fo.spans {
			must = must || s.begin.to <= seq && seq < s.end.from
			may = may || s.begin.from <= seq && seq < s.end.to
		}
		switch mine := entries[seq].sender == f; {
		case got[seq] && (!may || mine):
			wrong("topic %s: got message %d, which is not its: %v", fo.topic.name, seq, fo.spans)
		case got[seq] || !may:
		case mine:
			if seq > last {
				most++ // the publishers of messages that the log has dropped are not known
			}
		case seq < last && must:
			wrong("topic %s: got message %d, but not %d: %v", fo.topic.name, last, seq, fo.spans)
		case must:
			least++
			most++
		case seq > last:
			most++
		}
	}
	if n := len(fo.got); n > 0 && slices.Max(fo.got) >= ended {
		wrong("topic %s: got message %d of %d", fo.topic.name, slices.Max(fo.got), ended)
	}
	return least, most
}

// isTopics reports whether the stream is a topic's, and the topic's name.
func isTopics(stream string) (name string, is bool) { return strings.CutPrefix(stream, "topic") }

// ignore returns nil for the error of a connection or a server that ends, or of a full queue, and err otherwise.
func ignore(err error) error {
	if errors.Is(err, hail.ErrConnClosed) || errors.Is(err, hail.ErrServerClosed) || errors.Is(err, hail.ErrQueueFull) {
		return nil
	}
	return err
}
