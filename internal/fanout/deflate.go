package fanout

// Compression. Each message is compressed once for all its subscribers.

import (
	"sync"

	"example.com/hail/internal/wire"
)

// maxPooled is the largest buffer that is put back into the pool. Larger ones are left to the garbage collector.
const maxPooled = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// deflate compresses the message if the topic keeps compressed frames and the message becomes shorter. m.deflated then
// lies in the returned buffer. The caller puts the buffer back, which may be nil.
func (h *Hub) deflate(t *topic, m *message) (buf *[]byte) {
	m.deflated = nil
	if !h.cfg.Deflate || len(m.payload) < h.cfg.DeflateFrom || !t.keepsDeflated() {
		return nil
	}
	buf = buffers.Get().(*[]byte)
	*buf = wire.AppendDeflated((*buf)[:0], m.payload)
	if len(*buf) < len(m.payload) {
		m.deflated = *buf
	}
	return buf
}

// putBuffer puts a buffer back into the pool. A nil buffer is allowed.
func putBuffer(buf *[]byte) {
	if buf != nil && cap(*buf) <= maxPooled {
		buffers.Put(buf)
	}
}
