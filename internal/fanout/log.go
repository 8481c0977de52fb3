package fanout

// A topic's log: frames in chunks that never move, and what is known of each.

import (
	"sort"
	"sync"
	"time"

	"example.com/hail/internal/wire"
)

const (
	minChunk = 512
	maxChunk = 64 << 10
	// A chunk is so many times as large as what the log holds: few pieces in a burst, little room for nothing
	// in what is kept.
	growth = 2
	// A log that is empty begins with what it has held at most, or this part of what it began with before.
	hintPart = 4
	// A message larger than a chunk has one of its own, with this part of its size as room for small
	// ones that follow.
	roomPart = 16
	// For that many entries there is room at first, however short a message is.
	likelyFrame = 64
)

// entry is a message in a chunk.
type entry struct {
	seq    uint64
	sender uint64
	end    uint32 // where its frame ends in plain
	zend   uint32 // and in deflated
}

// chunk holds the frames of consecutive messages. Bytes that a reader has seen do not change:
// it uses them without a lock. All else is guarded by the topic's.
type chunk struct {
	base     uint64 // the first entry's index in the topic
	entries  []entry
	times    []time.Duration // when each was published, for history
	plain    []byte
	deflated []byte // the same messages for those who want them compressed; nil until one of them is
	senders  uint64 // a bit for each sender, many may share one
}

// smallChunk is a chunk in one piece: many topics never need more at a time.
type smallChunk struct {
	chunk
	entries [4]entry
	plain   [minChunk]byte
}

// newChunk returns a chunk for size bytes whose first message has this index and takes that much of them.
func newChunk(base uint64, size, frame int) *chunk {
	if size <= minChunk {
		ch := new(smallChunk)
		ch.base, ch.chunk.entries, ch.chunk.plain = base, ch.entries[:0], ch.plain[:0]
		return &ch.chunk
	}
	// Others are likely to be of the same size.
	return &chunk{base: base, entries: make([]entry, 0, size/max(frame, likelyFrame)+1), plain: make([]byte, 0, size)}
}

// senderBit returns the id's bit in a chunk's senders.
func senderBit(id uint64) uint64 {
	if id == 0 {
		return 0
	}
	return 1 << (id % 64)
}

// stream returns the frames for a subscriber, and whether they are the deflated ones.
func (ch *chunk) stream(deflate bool) (b []byte, z bool) {
	if deflate && ch.deflated != nil {
		return ch.deflated, true
	}
	return ch.plain, false
}

// offset returns where the entry begins in a stream; the number of entries stands for the end.
func (ch *chunk) offset(i int, z bool) int {
	switch {
	case i == 0:
		return 0
	case z:
		return int(ch.entries[i-1].zend)
	}
	return int(ch.entries[i-1].end)
}

// before returns the bytes that the first i entries take.
func (ch *chunk) before(i int) int { return ch.offset(i, false) + ch.offset(i, true) }

// fits reports whether there is room for a message.
func (ch *chunk) fits(m *message) bool {
	if ch.deflated == nil && m.deflated != nil && len(ch.plain) > maxChunk {
		return false // too much to have twice
	}
	return cap(ch.plain)-len(ch.plain) >= wire.FrameSize(len(m.payload)) &&
		(ch.deflated == nil || cap(ch.deflated)-len(ch.deflated) >= m.deflatedSize())
}

// divide begins the second stream, and returns how many bytes that is more, of the messages from an index on. What has been
// read is the same in both, so that who is in the middle of it may go on in the second.
func (ch *chunk) divide(from uint64) (more int) {
	// What is not shorter is not compressed, so the second stream needs no more than the first.
	ch.deflated = append(make([]byte, 0, cap(ch.plain)), ch.plain...)
	for i := range ch.entries {
		ch.entries[i].zend = ch.entries[i].end
	}
	return len(ch.deflated) - ch.offset(int(max(from, ch.base)-ch.base), true)
}

// deflatedSize returns the bytes that the message takes in the deflated stream.
func (m *message) deflatedSize() int {
	if m.deflated != nil {
		return wire.FrameSize(len(m.deflated))
	}
	return wire.FrameSize(len(m.payload))
}

// add appends a message that fits.
func (ch *chunk) add(m *message, seq uint64) {
	ch.plain = wire.AppendFrame(ch.plain, m.first, m.payload)
	switch {
	case ch.deflated == nil:
	case m.deflated != nil:
		ch.deflated = wire.AppendFrame(ch.deflated, m.first|wire.RSV1, m.deflated)
	default:
		ch.deflated = wire.AppendFrame(ch.deflated, m.first, m.payload)
	}
	ch.entries = append(ch.entries, entry{seq, m.sender, uint32(len(ch.plain)), uint32(len(ch.deflated))})
	ch.senders |= senderBit(m.sender)
}

// log is what a topic holds while it holds messages.
type log struct {
	chunks []*chunk // never one without an entry
	space  [4]*chunk
	first  uint64 // the oldest message's index
	bytes  int    // of the frames from there on
	total  int    // bytes that came since it was empty
	peak   int    // the most of bytes since then
	hint   int32  // the topic's
	// What was there when the last round that has ended began: messages, as an index, and bytes of total.
	woken      uint64
	wokenTotal int
}

var logs = sync.Pool{New: func() any { return new(log) }}

// newLog returns the log of a topic whose next message has this index.
func newLog(next uint64, hint int32) *log {
	l := logs.Get().(*log)
	l.chunks, l.first, l.woken, l.hint = l.space[:0], next, next, hint
	return l
}

// free takes the log back, which nothing refers to any more.
func (l *log) free() {
	*l = log{}
	logs.Put(l)
}

// tailFor returns the chunk that m, the message of index next, goes to. The last is left only when it is full, whoever comes and
// goes that wants compressed frames: else each message might need a chunk of its own.
func (l *log) tailFor(m *message, next uint64, t *topic) *chunk {
	if n := len(l.chunks); n > 0 && l.chunks[n-1].fits(m) {
		tail := l.chunks[n-1]
		if m.deflated != nil && tail.deflated == nil {
			more := tail.divide(l.first)
			l.bytes += more
			l.total += more
		}
		return tail
	}
	most, frame := t.hub.maxChunk, wire.FrameSize(len(m.payload))
	size := max(minChunk, growth*l.bytes)
	if !t.history {
		// Nothing is kept for long, so what was needed may be needed again.
		size = max(size, l.peak, int(l.hint))
	}
	size = max(min(size, most), frame)
	if frame > most {
		size += frame / roomPart
	}
	ch := newChunk(next, size, frame)
	if m.deflated != nil {
		ch.deflated = make([]byte, 0, max(m.deflatedSize(), min(size, most)))
	}
	l.chunks = append(l.chunks, ch)
	return ch
}

// find returns the chunk that holds the message of this index, and where in it. It has to be in the log.
func (l *log) find(index uint64) (ch *chunk, i int) {
	n := sort.Search(len(l.chunks), func(n int) bool { return l.chunks[n].base > index }) - 1
	return l.chunks[n], int(index - l.chunks[n].base)
}

// behind returns the index of the first message with a larger number, next where there is none.
func (l *log) behind(seq, next uint64) uint64 {
	n := sort.Search(int(next-l.first), func(n int) bool {
		ch, i := l.find(l.first + uint64(n))
		return ch.entries[i].seq > seq
	})
	return l.first + uint64(n)
}

// drop takes out the messages below an index, and returns the number of the last of them, 0 for none. With
// keep the last chunk stays, for what comes.
func (l *log) drop(to uint64, keep bool) (seq uint64) {
	for l.first < to {
		ch := l.chunks[0]
		i := int(l.first - ch.base)
		j := int(min(to-ch.base, uint64(len(ch.entries))))
		l.bytes -= ch.before(j) - ch.before(i)
		l.first += uint64(j - i)
		seq = ch.entries[j-1].seq
		if j == len(ch.entries) && (len(l.chunks) > 1 || !keep) {
			l.chunks[0] = nil
			l.chunks = l.chunks[1:]
		}
	}
	return seq
}
