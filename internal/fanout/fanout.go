// Package fanout keeps topics: each a bounded log of encoded frames, stored once for all its subscribers, of
// whom each is a cursor in it. It knows no socket: it wakes whoever owns a cursor, and that one takes what
// is there as fast as it can. Who is so slow that the log's bounds pass its cursor is told.
//
// A caller's locks come before the package's: a [Target] may call its cursors under a lock of its own, and is
// itself called under none of the package's. The caller of [Hub.Publish] therefore holds no lock that Wake takes.
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
	return fmt.Sprintf("fanout: a message of %d bytes does not fit into a topic's %d", e.Bytes, e.Max)
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
	// Hidden is a topic that [Hub.Topics] leaves out, and that has no history.
	Hidden string
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
// messages a second are published, of which one of PublishSeq that others keep passing counts for up to 4,096. They stay
// below 2^53, which JSON readers keep exactly.
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
	h.queue.max = int32(runtime.GOMAXPROCS(0))
	return h
}

// now returns the time since the start, which no change of the clock disturbs.
func (h *Hub) now() time.Duration { return time.Since(h.start) }

// keeps reports whether the topic has a history.
func (h *Hub) keeps(name string) bool { return h.history && name != h.cfg.Hidden }

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

// Publish appends a message to the topic's log and has its subscribers woken, all but those with the
// sender's id. It returns the message's number. Where the topic has neither subscribers nor history that is all
// that is left of it. first is the frame's first byte without RSV1. payload is copied.
//
// It does not wait for what a subscriber does with it. But where those who wake subscribers are so slow that
// those who keep up might fall off it helps them, and waits a few milliseconds at the most
// for what they are at. A *[TooLargeError] or [ErrClosed] says that nothing was published.
func (h *Hub) Publish(topic string, first byte, payload []byte, sender uint64) (seq uint64, err error) {
	m := message{first: first, payload: payload, sender: sender}
	seq, _, err = h.publish(topic, &m, 0)
	return seq, err
}

// PublishSeq does what [Hub.Publish] does for a message that carries its own number, which f builds. f runs under no
// lock. Where other messages have passed the number meanwhile it is called again with a larger one;
// what it returned last is published, or is the error.
func (h *Hub) PublishSeq(topic string, sender uint64, f func(seq uint64) (first byte, payload []byte, err error)) (seq uint64, err error) {
	// Those who guess far have the others guess further, and all numbers run ahead of the clock. So the limit is what is enough
	// against those who publish without guessing, but for an f that takes so long that nothing else helps.
	const far, farthest, patience = 12, 20, time.Second
	begin, limit := h.now(), far
	for try := 0; ; try++ {
		if h.closed.Load() {
			return 0, ErrClosed
		}
		if h.now()-begin > patience {
			limit = farthest
		}
		// Each guess reaches further ahead of the others' messages than the last.
		want := h.order.Load() + 1<<min(2*try, limit)
		m := message{sender: sender}
		if m.first, m.payload, err = f(want); err != nil {
			return 0, err
		}
		_, ok, err := h.publish(topic, &m, want)
		switch {
		case err != nil:
			return 0, err
		case ok:
			return want, nil
		}
	}
}

// publish publishes m under the number that is wanted, or the next one for 0. ok is false where another
// message has the wanted number, or a larger one.
func (h *Hub) publish(name string, m *message, want uint64) (seq uint64, ok bool, err error) {
	if size := wire.FrameSize(len(m.payload)); size > h.maxFrame {
		return 0, false, &TooLargeError{size, h.maxFrame}
	}
	for !h.closed.Load() {
		var t *topic
		if h.keeps(name) {
			t = h.open(name)
		} else if t, seq, ok = h.findOr(name, want); t == nil {
			return seq, ok, nil
		}
		buf := h.deflate(t, m)
		seq, ok, gone := t.publish(m, want)
		if buf != nil {
			putBuffer(buf)
		}
		if !gone {
			return seq, ok, nil
		}
	}
	return 0, false, ErrClosed
}

// publish appends m to the topic, unless that is gone.
func (t *topic) publish(m *message, want uint64) (seq uint64, ok, gone bool) {
	t.mu.Lock()
	if t.gone.Load() {
		t.mu.Unlock()
		return 0, false, true
	}
	var todo todo
	if seq, ok = t.appendLocked(m, want); ok {
		todo = t.publishedLocked()
	}
	t.unlock()
	todo.do(t)
	return seq, ok, false
}

// number takes the wanted number, or the next one for 0. ok is false where it is taken.
func (h *Hub) number(want uint64) (seq uint64, ok bool) {
	if want == 0 {
		return h.order.Add(1), true
	}
	for {
		last := h.order.Load()
		if last >= want {
			return 0, false
		}
		if h.order.CompareAndSwap(last, want) {
			return want, true
		}
	}
}

// Topics yields the topics and how many subscribers each has. It blocks publishers and subscribers
// only while a small part of the topics is copied.
func (h *Hub) Topics() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		h.topics.each(func(t *topic) (int, bool) {
			t.mu.Lock()
			defer t.mu.Unlock()
			heard := t.subs > 0 || t.history && !t.emptyLocked()
			return int(t.subs), heard && t.name != h.cfg.Hidden
		}, yield)
	}
}

// Stats are a hub's numbers.
type Stats struct {
	Topics  int
	Cursors int // those that have ended and not been drained too
	Chunks  int // pieces of memory that logs consist of
	Bytes   int // what of them is used
}

// Stats counts what the hub holds.
func (h *Hub) Stats() (s Stats) {
	h.topics.each(func(t *topic) (int, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		s.Topics++
		s.Cursors += len(t.cursors)
		if t.log != nil {
			s.Chunks += len(t.log.chunks)
			s.Bytes += t.log.bytes
		}
		return 0, false
	}, nil)
	return s
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
