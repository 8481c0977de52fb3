// Package fanout keeps topics: each a bounded log of encoded frames, stored once for all its subscribers, of
// whom each is a cursor in it. It knows no socket: it wakes whoever owns a cursor, and that one takes what
// is there as fast as it can. Who is so slow that the log's bounds pass its cursor is told.
//
// A lock is taken before those to its right: the owner's, under which a [Target] may call its cursors and its [Subscriber];
// the Subscriber's; that of a part of the table of topics; the topic's. A Target is called under none of them, so
// whoever calls [Hub.Publish] holds no lock that Wake takes. The function given to [Hub.PublishSeq] runs under the topic's.
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

// ErrClosed is returned by what is published after [Hub.Close].
var ErrClosed = errors.New("fanout: closed")

// TooLargeError is returned for a message that no topic's log could hold.
type TooLargeError struct {
	Bytes int // the message's frame
	Max   int // [Config.MaxBytes], or what a frame may have at all
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("hail: message of %d bytes is larger than a topic's log of %d (Options.TopicBytes)", e.Bytes, e.Max)
}

// Config says what the topics of a [Hub] keep.
type Config struct {
	// MaxBytes and MaxMessages bound a topic's log: a subscriber falls off when as much is behind its cursor.
	// MaxBytes counts frames, and those that are kept compressed too twice. 0 is no bound.
	MaxBytes, MaxMessages int
	// HistoryMessages and HistoryAge say what a topic keeps when every subscriber has read it, or when there
	// is none. Both have to be above 0, or there is no history.
	HistoryMessages int
	HistoryAge      time.Duration
	// Deflate says whether subscribers may want compressed frames, and DeflateFrom the payload from which
	// compressing is tried.
	Deflate     bool
	DeflateFrom int
}

// Target owns cursors.
type Target interface {
	// Wake says that the cursor may have something to take, or has fallen off the log. It is called for each
	// cursor that is behind after a publish, by goroutines of the hub and by those that publish, without a
	// lock, never by two at once for one cursor. It does not wait, nor publish. It may still come when
	// the cursor has just been dropped.
	Wake(c *Cursor)
}

// Hub is a server's topics. All methods may be called from any goroutine.
type Hub struct {
	cfg      Config
	history  bool
	maxFrame int
	maxChunk int
	help     lead
	wait     lead
	start    time.Time

	_     [64]byte // every publisher writes order
	order atomic.Uint64
	_     [56]byte

	topics topics
	all    *topic // of broadcasts: it has no name, no history, and is never gone
	queue  queue
	ages   ages

	closed  atomic.Bool
	running atomic.Int64 // goroutines that wake subscribers or let history age
	idle    chan struct{}
	end     sync.Once // closes idle, when the hub is closed and nobody is running
}

const (
	// What end offsets in a chunk can say, on every system.
	maxFrame = 1 << 30
	// Chunks are at the most this part of what a log may hold.
	chunkPart = 4
)

// New returns a hub without topics.
//
// Its numbers start at the time in microseconds: they rise over restarts too, while fewer than a million
// messages a second are published. They stay below 2^53, which JSON readers keep exactly.
func New(cfg Config) *Hub {
	cfg.HistoryAge = min(cfg.HistoryAge, math.MaxInt64/2) // it is added to the time
	h := &Hub{
		cfg:      cfg,
		history:  cfg.HistoryMessages > 0 && cfg.HistoryAge > 0,
		maxFrame: maxFrame,
		maxChunk: maxChunk,
		help:     leadOf(cfg, helpPart),
		wait:     leadOf(cfg, waitPart),
		start:    time.Now(),
		idle:     make(chan struct{}),
	}
	if cfg.MaxBytes > 0 {
		h.maxFrame = min(maxFrame, cfg.MaxBytes)
		h.maxChunk = min(maxChunk, max(minChunk, cfg.MaxBytes/chunkPart))
	}
	h.order.Store(uint64(h.start.UnixMicro()))
	h.topics.init()
	h.all = &topic{hub: h}
	h.queue.max = int32(runtime.GOMAXPROCS(0))
	return h
}

// now returns the time since the start, which no change of the clock disturbs.
func (h *Hub) now() time.Duration { return time.Since(h.start) }

// Order returns the latest number of a message. Whoever takes a cursor's messages after it sees every
// message that has this number or a smaller one.
func (h *Hub) Order() uint64 { return h.order.Load() }

// message is what is being published.
type message struct {
	first    byte
	payload  []byte
	deflated []byte // the payload compressed, nil where it is not
	sender   uint64
}

// Publish appends a message to the log of the topic of that name, and has its subscribers woken, except those with the
// sender's id. It returns the message's number. If the topic has neither subscribers nor history, that is all
// that is left of it. first is the frame's first byte without RSV1. payload is copied.
//
// It does not wait for what a subscriber does with it. But if those who wake subscribers are so slow that
// those who keep up might fall off, it helps them, and waits a few milliseconds at the most
// for what they are at. A *[TooLargeError] or [ErrClosed] says that nothing was published.
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

// Broadcast publishes a message to all who have subscribed with [Hub.SubscribeAll].
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

// PublishSeq does what [Hub.Publish] does for a message that carries its own number. f builds it, and is called once, under
// the topic's lock: it calls nothing of the hub's. If f returns an error or panics, or its message is too large,
// nothing is published, and nobody gets the number.
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

// place returns the topic that a message goes to; nil, and the message's number, if nobody gets it.
func (h *Hub) place(name string) (t *topic, seq uint64) {
	if h.history {
		return h.open(name), 0
	}
	return h.findOr(name)
}

// fits says whether a message is too large for any topic.
func (h *Hub) fits(m *message) error {
	if size := wire.FrameSize(len(m.payload)); size > h.maxFrame {
		return &TooLargeError{size, h.maxFrame}
	}
	return nil
}

// publish appends m to the topic, unless that is gone.
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

// publishSeq is publish for a message that build makes.
func (t *topic) publishSeq(m *message, build func(seq uint64) error) (seq uint64, gone bool, err error) {
	var todo todo
	defer func() { todo.do(t) }() // after it is unlocked
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

// Topics yields the topics and how many subscribers each has. It blocks publishers and subscribers
// only while a small part of the topics is copied.
func (h *Hub) Topics() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		h.topics.each(func(t *topic) (int, bool) {
			t.mu.Lock()
			defer t.mu.Unlock()
			heard := t.subs > 0 || t.history && !t.emptyLocked()
			return int(t.subs), heard
		}, yield)
	}
}

// Close lets nothing more be published, and returns when nobody is being woken any more.
// Cursors can still be taken from and dropped.
func (h *Hub) Close() {
	h.closed.Store(true)
	h.ages.stop()
	h.endIdle()
	<-h.idle
}

// enter announces a goroutine that wakes subscribers or lets history age: Close waits for its leave.
func (h *Hub) enter() bool {
	h.running.Add(1)
	if h.closed.Load() {
		h.leave()
		return false
	}
	return true
}

func (h *Hub) leave() {
	if h.running.Add(-1) == 0 {
		h.endIdle()
	}
}

// endIdle lets Close return where nobody is running.
func (h *Hub) endIdle() {
	if h.closed.Load() && h.running.Load() == 0 {
		h.end.Do(func() { close(h.idle) })
	}
}
