package link

// The place of a connection's own frames among published ones, as numbers.

import "math"

// order says when own bytes may be written: data and the close frame, counted from when the first source was added.
// Control frames are not among them.
//
// Own bytes up to the end of a segment are written after all that sources have with numbers up to the segment's upto: so
// written <= free < the ends of the segments, which rise up to queued, and their uptos never fall.
type order struct {
	queued   int64     // own bytes that were queued
	written  int64     // of them
	free     int64     // of them: no source has anything left that goes before these
	joined   int64     // of them: were queued when the latest source was added
	segments []segment // of the bytes from free to queued
}

// segment is own bytes that end there.
type segment struct {
	upto uint64
	end  int64
}

const segmentSize = 16

// newOrder returns the order of a connection that has own bytes to write, and no source yet.
func newOrder(waiting int) order { return order{queued: int64(waiting), free: int64(waiting)} }

// join returns how many own bytes go before all that a source has which is added now.
func (d *order) join() (after int64) {
	d.joined = d.queued
	return d.joined
}

// add notes n own bytes that were queued when the latest message had the number upto. They do not share a segment with
// bytes that were queued before a source was added: it may have something that goes in between.
func (d *order) add(n int, upto uint64) {
	d.queued += int64(n)
	if last := len(d.segments) - 1; last >= 0 && d.segments[last].upto == upto && d.segments[last].end > d.joined {
		d.segments[last].end = d.queued
		return
	}
	d.segments = append(d.segments, segment{upto, d.queued})
}

// cut notes that the last n own bytes, which are not written, are gone.
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

// wrote notes that n of them were.
func (d *order) wrote(n int) { d.written += int64(n) }

// upto returns up to which number messages go before the next segment; if there is none, all do.
func (d *order) upto() uint64 {
	if len(d.segments) == 0 {
		return math.MaxUint64
	}
	return d.segments[0].upto
}

// release lets the next segment be written, because no source has anything left that goes before it. It reports whether there
// is one.
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

// trim gives memory back when all is written.
func (d *order) trim() {
	if cap(d.segments) > 16 {
		d.segments = nil
	}
}
