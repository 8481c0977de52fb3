package fanout

// A topic's log: frames in chunks that never move, and the number, sender and place of each.

import (
	"sort"
	"sync"
	"time"

	"example.com/hail/internal/wire"
)

const (
	minChunk = 512
	maxChunk = 64 << 10
	// A new chunk is this many times as large as the bytes in the log. So a burst needs few chunks, and a small log
	// wastes little memory.
	growth = 2
	// The size hint of an empty log is the peak of its bytes, or this fraction of the hint before.
	hintPart = 4
	// A message larger than a chunk gets a chunk of its own, with this fraction of its size as room for small ones that
	// follow.
	roomPart = 16
	// A new chunk has room for entries of frames of this size, or larger.
	likelyFrame = 64
)

// entry is a message in a chunk.
type entry struct {
	seq         uint64
	sender      uint64
	plainEnd    uint32 // the end of its frame in plain
	deflatedEnd uint32 // and in deflated
}

// chunk holds the frames of consecutive messages. The bytes of frames never change after a reader has seen them, so they
// are read without a lock. The rest is guarded by the topic's mu.
type chunk struct {
	base     uint64 // the index of the first entry's message
	entries  []entry
	times    []time.Duration // when each was published, if there is history
	plain    []byte
	deflated []byte // the same messages for subscribers that want them compressed; nil until one of them is
	senders  uint64 // a set of senders, with one bit for many of them
}

// smallChunk is a chunk in one allocation. Many topics never need more.
type smallChunk struct {
	chunk
	entries [4]entry
	plain   [minChunk]byte
}

// newChunk returns a chunk with room for size bytes. Its first message has the index base, and a frame of that size.
func newChunk(base uint64, size, frame int) *chunk {
	if size <= minChunk {
		ch := new(smallChunk)
		ch.base, ch.chunk.entries, ch.chunk.plain = base, ch.entries[:0], ch.plain[:0]
		return &ch.chunk
	}
	// The others are likely to be of the same size.
	return &chunk{base: base, entries: make([]entry, 0, size/max(frame, likelyFrame)+1), plain: make([]byte, 0, size)}
}

// senderBit returns the id's bit in a chunk's senders.
func senderBit(id uint64) uint64 {
	if id == 0 {
		return 0
	}
	return 1 << (id % 64)
}

// frames returns the frames for a subscriber. z reports whether they are the deflated ones.
func (ch *chunk) frames(deflate bool) (b []byte, z bool) {
	if deflate && ch.deflated != nil {
		return ch.deflated, true
	}
	return ch.plain, false
}

// offset returns where the frame of entry i begins, in plain or in deflated. If i is the number of entries, it returns the
// end of the last.
func (ch *chunk) offset(i int, z bool) int {
	switch {
	case i == 0:
		return 0
	case z:
		return int(ch.entries[i-1].deflatedEnd)
	}
	return int(ch.entries[i-1].plainEnd)
}

// bytesBefore returns the bytes of the frames of the first i entries.
func (ch *chunk) bytesBefore(i int) int { return ch.offset(i, false) + ch.offset(i, true) }

// fits reports whether there is room for a message.
func (ch *chunk) fits(m *message) bool {
	if ch.deflated == nil && m.deflated != nil && len(ch.plain) > maxChunk {
		return false // too much to copy for compressed frames
	}
	return cap(ch.plain)-len(ch.plain) >= wire.FrameSize(len(m.payload)) &&
		(ch.deflated == nil || cap(ch.deflated)-len(ch.deflated) >= m.deflatedSize())
}

// startDeflated makes deflated a copy of plain, and returns the bytes that this adds for messages from an index on. Frames
// that were read so far are the same in both, so a reader in the middle of plain continues in deflated.
func (ch *chunk) startDeflated(from uint64) (more int) {
	// A message is only compressed if that makes it shorter, so deflated needs no more room than plain.
	ch.deflated = append(make([]byte, 0, cap(ch.plain)), ch.plain...)
	for i := range ch.entries {
		ch.entries[i].deflatedEnd = ch.entries[i].plainEnd
	}
	return len(ch.deflated) - ch.offset(int(max(from, ch.base)-ch.base), true)
}

// deflatedSize returns the size of the message's frame in deflated.
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

// log holds the messages of a topic that has some.
type log struct {
	chunks []*chunk // each has an entry
	space  [4]*chunk
	first  uint64 // the index of the oldest message
	bytes  int    // of the frames from there on
	total  int    // bytes that were appended since it was empty
	peak   int    // the largest value of bytes since then
	hint   int32  // the topic's
	// The next index and total, at the start of the last round that has ended. Subscribers were woken for messages up to
	// there.
	woken      uint64
	wokenTotal int
}

var logs = sync.Pool{New: func() any { return new(log) }}

// newLog returns the log of a topic whose next message has the index next.
func newLog(next uint64, hint int32) *log {
	l := logs.Get().(*log)
	l.chunks, l.first, l.woken, l.hint = l.space[:0], next, next, hint
	return l
}

// free puts the log back into the pool.
func (l *log) free() {
	*l = log{}
	logs.Put(l)
}

// tailFor returns the chunk to append m to, the message of index next. It starts a new chunk only if the last is full, even
// if subscribers that want compressed frames come and go: else each message might need a chunk of its own.
func (l *log) tailFor(m *message, next uint64, t *topic) *chunk {
	if n := len(l.chunks); n > 0 && l.chunks[n-1].fits(m) {
		tail := l.chunks[n-1]
		if m.deflated != nil && tail.deflated == nil {
			more := tail.startDeflated(l.first)
			l.bytes += more
			l.total += more
		}
		return tail
	}
	largest, frame := t.hub.maxChunk, wire.FrameSize(len(m.payload))
	size := max(minChunk, growth*l.bytes)
	if !t.history {
		// Nothing is kept for long, so as much room as before may be needed again.
		size = max(size, l.peak, int(l.hint))
	}
	size = max(min(size, largest), frame)
	if frame > largest {
		size += frame / roomPart
	}
	ch := newChunk(next, size, frame)
	if m.deflated != nil {
		ch.deflated = make([]byte, 0, max(m.deflatedSize(), min(size, largest)))
	}
	l.chunks = append(l.chunks, ch)
	return ch
}

// find returns the chunk that holds the message of this index, and its place there. The message must be in the log.
func (l *log) find(index uint64) (ch *chunk, i int) {
	n := sort.Search(len(l.chunks), func(n int) bool { return l.chunks[n].base > index }) - 1
	return l.chunks[n], int(index - l.chunks[n].base)
}

// after returns the index of the first message with a number larger than seq, next if there is none.
func (l *log) after(seq, next uint64) uint64 {
	n := sort.Search(int(next-l.first), func(n int) bool {
		ch, i := l.find(l.first + uint64(n))
		return ch.entries[i].seq > seq
	})
	return l.first + uint64(n)
}

// drop removes the messages below an index, and returns the number of the last of them, 0 if there are none. With keep it
// keeps the last chunk for messages to come.
func (l *log) drop(to uint64, keep bool) (seq uint64) {
	for l.first < to {
		ch := l.chunks[0]
		i := int(l.first - ch.base)
		j := int(min(to-ch.base, uint64(len(ch.entries))))
		l.bytes -= ch.bytesBefore(j) - ch.bytesBefore(i)
		l.first += uint64(j - i)
		seq = ch.entries[j-1].seq
		if j == len(ch.entries) && (len(l.chunks) > 1 || !keep) {
			l.chunks[0] = nil
			l.chunks = l.chunks[1:]
		}
	}
	return seq
}
