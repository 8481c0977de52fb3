package link

// The order of a connection's own frames and published frames, as numbers.

import "math"

// order says when own bytes may be written. Own bytes are data and the close frame, not control frames. They are counted
// from the time at which the first source was added.
//
// The own bytes of a segment are written after all published messages with numbers up to the segment's upto. So
// written <= free < the ends of the segments, which rise up to queued, and their uptos never fall.
type order struct {
	queued   int64     // how many own bytes were queued
	written  int64     // how many of them were written
	free     int64     // how many of them may be written: no published message that goes before them is left
	joined   int64     // how many of them were queued when the latest source was added
	segments []segment // the bytes from free to queued
}

// segment is a run of own bytes.
type segment struct {
	upto uint64 // published messages with numbers up to this go before it
	end  int64  // how many own bytes were queued up to its end
}

const segmentSize = 16

// newOrder returns the order of a connection that has that many own bytes to write, and no source yet.
func newOrder(waiting int) order { return order{queued: int64(waiting), free: int64(waiting)} }

// join returns how many own bytes go before all messages of a source that is added now.
func (d *order) join() (after int64) {
	d.joined = d.queued
	return d.joined
}

// add notes that n own bytes were queued, after the published message with the number upto. They do not share a segment
// with bytes that were queued before a source was added: the source may have messages that go between them.
func (d *order) add(n int, upto uint64) {
	d.queued += int64(n)
	if last := len(d.segments) - 1; last >= 0 && d.segments[last].upto == upto && d.segments[last].end > d.joined {
		d.segments[last].end = d.queued
		return
	}
	d.segments = append(d.segments, segment{upto, d.queued})
}

// cut removes the last n own bytes, which are not written.
func (d *order) cut(n int) {
	d.queued -= int64(n)
	d.free = min(d.free, d.queued)
	d.joined = min(d.joined, d.queued)
	begin := d.free
	for i, s := range d.segments {
		if s.end >= d.queued {
			if begin < d.queued {
				d.segments[i].end = d.queued
				i++
			}
			d.segments = d.segments[:i]
			return
		}
		begin = s.end
	}
}

// ready returns how many own bytes may be written now.
func (d *order) ready() int { return int(d.free - d.written) }

// wrote notes that n own bytes were written.
func (d *order) wrote(n int) { d.written += int64(n) }

// upto returns the number up to which published messages go before the next segment. If there is no segment, all do.
func (d *order) upto() uint64 {
	if len(d.segments) == 0 {
		return math.MaxUint64
	}
	return d.segments[0].upto
}

// release lets the next segment be written, because no published message is left that goes before it. It reports false if
// there is no segment.
func (d *order) release() bool {
	if len(d.segments) == 0 {
		return false
	}
	d.free = d.segments[0].end
	if len(d.segments) == 1 {
		d.segments = d.segments[:0] // keeps its memory
	} else {
		d.segments = d.segments[1:]
	}
	return true
}

// trim frees memory after everything was written.
func (d *order) trim() {
	if cap(d.segments) > 16 {
		d.segments = nil
	}
}
