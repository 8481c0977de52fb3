// Package fanout keeps topics. A topic is a bounded log of encoded frames, stored once for all subscribers. A subscriber
// is a cursor in the log. The package knows no socket: it wakes the owner of a cursor, and the owner reads as fast as it
// can. An owner that is so slow that the log drops messages it has not read gets an error.
//
// Locks are acquired in this order: the owner's, under which a [Target] may call its cursors and its [Subscriber]; the
// Subscriber's; a shard's of the table of topics; the topic's. Target.Wake is called with none of them held, so a caller
// of [Hub.Publish] must not hold a lock that Wake acquires. The function given to [Hub.PublishSeq] runs under the topic's.
package fanout

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/wire"
)

// ErrClosed is returned if something is published after [Hub.Close].
var ErrClosed = errors.New("fanout: closed")

// TooLargeError is returned for a message that no topic's log could hold.
type TooLargeError struct {
	Bytes int // of the message's frame
	Max   int // [Config.MaxBytes], or the largest frame that a log can hold
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("hail: message of %d bytes is larger than a topic's log of %d (Options.TopicBytes)", e.Bytes, e.Max)
}

// Config says how much the topics of a [Hub] keep.
type Config struct {
	// MaxBytes and MaxMessages limit a topic's log. A subscriber that has more than that unread falls off the log.
	// MaxBytes counts frames; a message that is also kept compressed counts with both its frames. 0: no limit.
	MaxBytes, MaxMessages int
	// HistoryMessages and HistoryAge say what a topic keeps after every subscriber has read it, or if it has none. If one
	// of them is not above 0, there is no history.
	HistoryMessages int
	HistoryAge      time.Duration
	// Deflate says whether subscribers may ask for compressed frames. DeflateFrom is the smallest payload that is
	// compressed.
	Deflate     bool
	DeflateFrom int
}

// Target owns cursors.
type Target interface {
	// Wake says that the cursor may have something to read, or has fallen off the log. After a publish it is called for
	// each cursor that has unread messages, by goroutines of the hub and by publishers, with no lock held, never by two
	// at once for one cursor. It must not wait or publish. It may still be called just after the cursor was dropped.
	Wake(c *Cursor)
}

// Hub is a server's topics. All methods may be called from any goroutine.
type Hub struct {
	cfg      Config
	history  bool
	maxFrame int
	maxChunk int
	helpLead lead
	waitLead lead
	start    time.Time

	// The latest number of a message. Every publisher writes it, so it has a cache line of its own.
	_       [64]byte
	lastSeq atomic.Uint64
	_       [56]byte

	topics topics
	all    *topic // of broadcasts: it has no name and no history, and is never gone
	queue  queue
	ages   ages

	closed    atomic.Bool
	running   atomic.Int64 // goroutines that wake subscribers or let history age
	idle      chan struct{}
	closeIdle sync.Once // closes idle when the hub is closed and no such goroutine runs
}

const (
	// The offsets in a chunk can express this much on every system.
	maxFrame = 1 << 30
	// A chunk is at most this fraction of Config.MaxBytes.
	chunkPart = 4
)

// New returns a hub without topics.
//
// Its numbers start at the time in microseconds. So they rise across restarts too, as long as fewer than a million
// messages a second are published. They stay below 2^53, up to which JSON readers keep integers exact.
func New(cfg Config) *Hub {
	cfg.HistoryAge = min(cfg.HistoryAge, math.MaxInt64/2) // it is added to the time
	h := &Hub{
		cfg:      cfg,
		history:  cfg.HistoryMessages > 0 && cfg.HistoryAge > 0,
		maxFrame: maxFrame,
		maxChunk: maxChunk,
		helpLead: leadOf(cfg, helpPart),
		waitLead: leadOf(cfg, waitPart),
		start:    time.Now(),
		idle:     make(chan struct{}),
	}
	if cfg.MaxBytes > 0 {
		h.maxFrame = min(maxFrame, cfg.MaxBytes)
		h.maxChunk = min(maxChunk, max(minChunk, cfg.MaxBytes/chunkPart))
	}
	h.lastSeq.Store(uint64(h.start.UnixMicro()))
	h.topics.init()
	h.all = &topic{hub: h}
	h.queue.max = int32(runtime.GOMAXPROCS(0))
	return h
}

// now returns the time since the hub's start. It is monotonic.
func (h *Hub) now() time.Duration { return time.Since(h.start) }

// Order returns the latest number of a message. A cursor that is read after Order has returned has every message with
// this number or a smaller one.
func (h *Hub) Order() uint64 { return h.lastSeq.Load() }

// message is a message that is being published.
type message struct {
	first    byte
	payload  []byte
	deflated []byte // the compressed payload, nil if there is none
	sender   uint64
}

// Publish appends a message to the log of the topic of that name and has its subscribers woken, except those with the
// sender's id. It returns the message's number. If the topic has neither subscribers nor history, the message is dropped,
// but has a number. first is the frame's first byte without RSV1. payload is copied.
//
// Publish does not wait for a subscriber to read. But if waking is so slow that subscribers that keep up might fall off
// the log, the publisher helps to wake them, and waits at most a few milliseconds for the others that do. A
// *[TooLargeError] or [ErrClosed] says that nothing was published.
func (h *Hub) Publish(name string, first byte, payload []byte, sender uint64) (seq uint64, err error) {
	m := message{first: first, payload: payload, sender: sender}
	if err := h.fits(&m); err != nil {
		return 0, err
	}
	for !h.closed.Load() {
		t, seq := h.place(name)
		if t == nil {
			return seq, nil
		}
		if seq, gone := t.publish(&m); !gone {
			return seq, nil
		}
	}
	return 0, ErrClosed
}

// Broadcast publishes a message to all cursors of [Hub.SubscribeAll].
func (h *Hub) Broadcast(first byte, payload []byte) error {
	m := message{first: first, payload: payload}
	if err := h.fits(&m); err != nil {
		return err
	}
	if h.closed.Load() {
		return ErrClosed
	}
	h.all.publish(&m)
	return nil
}

// PublishSeq is [Hub.Publish] for a message that carries its own number. f builds the message. It is called once, under
// the topic's lock, so it must not call the hub. If f returns an error or panics, or the message is too large, nothing is
// published and the number is not used again.
func (h *Hub) PublishSeq(name string, sender uint64, f func(seq uint64) (first byte, payload []byte, err error)) (seq uint64, err error) {
	m := message{sender: sender}
	build := func(seq uint64) (err error) {
		if m.first, m.payload, err = f(seq); err != nil {
			return err
		}
		return h.fits(&m)
	}
	for !h.closed.Load() {
		t, seq := h.place(name)
		if t == nil {
			return seq, build(seq)
		}
		if seq, gone, err := t.publishSeq(&m, build); !gone {
			return seq, err
		}
	}
	return 0, ErrClosed
}

// place returns the topic that a message is appended to. If nobody would read the message, the topic is nil and seq is
// the message's number.
func (h *Hub) place(name string) (t *topic, seq uint64) {
	if h.history {
		return h.open(name), 0
	}
	return h.findOr(name)
}

// fits returns an error if a message is too large for any topic.
func (h *Hub) fits(m *message) error {
	if size := wire.FrameSize(len(m.payload)); size > h.maxFrame {
		return &TooLargeError{size, h.maxFrame}
	}
	return nil
}

// publish appends m to the topic, unless the topic is gone.
func (t *topic) publish(m *message) (seq uint64, gone bool) {
	buf := t.hub.deflate(t, m)
	t.mu.Lock()
	if t.gone.Load() {
		t.mu.Unlock()
		putBuffer(buf)
		return 0, true
	}
	seq = t.numberLocked()
	t.appendLocked(m, seq)
	todo := t.publishedLocked()
	t.unlock()
	putBuffer(buf)
	todo.do(t)
	return seq, false
}

// publishSeq is publish for a message that build fills in.
func (t *topic) publishSeq(m *message, build func(seq uint64) error) (seq uint64, gone bool, err error) {
	var todo todo
	defer func() { todo.do(t) }() // after the unlock
	t.mu.Lock()
	defer t.unlock()
	if t.gone.Load() {
		return 0, true, nil
	}
	seq = t.numberLocked()
	defer t.unnumberLocked() // if build fails or panics
	if err := build(seq); err != nil {
		return 0, false, err
	}
	buf := t.hub.deflate(t, m)
	t.appendLocked(m, seq)
	putBuffer(buf)
	todo = t.publishedLocked()
	return seq, false, nil
}

// Topics yields each topic and its number of subscribers. It copies the topics a shard at a time, and blocks publishers
// and subscribers only while it copies one.
func (h *Hub) Topics() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		h.topics.each(func(t *topic) (int, bool) {
			t.mu.Lock()
			defer t.mu.Unlock()
			listed := t.subs > 0 || t.history && !t.emptyLocked()
			return int(t.subs), listed
		}, yield)
	}
}

// Close stops publishing, and returns when nobody is being woken any more. Cursors can still be read and dropped.
func (h *Hub) Close() {
	h.closed.Store(true)
	h.ages.stop()
	h.endIdle()
	<-h.idle
}

// enter counts a goroutine that wakes subscribers or lets history age. Close waits for its leave. It reports false if the
// hub is closed.
func (h *Hub) enter() bool {
	h.running.Add(1)
	if h.closed.Load() {
		h.leave()
		return false
	}
	return true
}

// leave undoes enter.
func (h *Hub) leave() {
	if h.running.Add(-1) == 0 {
		h.endIdle()
	}
}

// endIdle lets Close return if no such goroutine runs.
func (h *Hub) endIdle() {
	if h.closed.Load() && h.running.Load() == 0 {
		h.closeIdle.Do(func() { close(h.idle) })
	}
}
