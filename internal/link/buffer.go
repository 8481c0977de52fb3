package link

// Pooled memory for reading and writing.

import "sync"

// buffer is a piece of pooled memory. A read buffer has the length of its capacity; the length of a write buffer is that of
// its content.
type buffer struct{ b []byte }

// classes are the sizes of pooled buffers. They exceed round numbers, so that a message of such a size fits with its
// header.
var classes = [...]int{4 << 10, 16<<10 + 64, 64<<10 + 64, 256<<10 + 64, 1<<20 + 64}

var pools [len(classes)]sync.Pool // of buffers, some of which have no memory

// classFor returns the smallest class that holds n bytes, len(classes) if none does.
func classFor(n int) int {
	for i, size := range classes {
		if n <= size {
			return i
		}
	}
	return len(classes)
}

// newBuffer returns an empty buffer with room for n bytes.
func newBuffer(n int) *buffer {
	class := classFor(n)
	if class == len(classes) {
		return exactBuffer(n)
	}
	countBuffers(1)
	buf, _ := pools[class].Get().(*buffer)
	if buf == nil {
		buf = new(buffer)
	}
	if buf.b == nil {
		buf.b = make([]byte, 0, classes[class])
	}
	buf.b = buf.b[:0]
	return buf
}

// exactBuffer returns an empty buffer of n bytes and no more, which no pool has.
func exactBuffer(n int) *buffer {
	countBuffers(1)
	return &buffer{make([]byte, 0, n)}
}

// giveAway leaves buf's memory to the owner of a part of it.
func (buf *buffer) giveAway() {
	countBuffers(-1)
	class := classFor(cap(buf.b))
	buf.b = nil
	if class < len(classes) {
		pools[class].Put(buf)
	}
}

// free puts the buffer back into its pool. A nil buffer is allowed.
func (buf *buffer) free() {
	if buf == nil {
		return
	}
	countBuffers(-1)
	if class := classFor(cap(buf.b)); class < len(classes) && cap(buf.b) == classes[class] {
		pools[class].Put(buf)
	}
}

// grow returns a buffer with buf's content and room for n more bytes: buf itself, or a larger one. In the second case it
// frees buf. A nil buffer is allowed.
func (buf *buffer) grow(n int) *buffer {
	if buf == nil {
		return newBuffer(n)
	}
	if cap(buf.b)-len(buf.b) >= n {
		return buf
	}
	size := len(buf.b) + n
	if classFor(size) == len(classes) {
		size = max(size, 2*len(buf.b)) // no pool has it, so it grows by doubling
	}
	larger := newBuffer(size)
	larger.b = append(larger.b, buf.b...)
	buf.free()
	return larger
}

func (buf *buffer) len() int { return len(buf.bytes()) }

func (buf *buffer) bytes() []byte {
	if buf == nil {
		return nil
	}
	return buf.b
}
