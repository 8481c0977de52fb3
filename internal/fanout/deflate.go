package fanout

// Compressing, once a message.

import (
	"sync"

	"example.com/hail/internal/wire"
)

// Larger buffers are left to the garbage collector.
const maxPooled = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// deflate compresses the message where the topic wants that and it becomes shorter. The buffer, if there is
// one, holds what the message then refers to: the caller puts it back.
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

// putBuffer takes a buffer back, which may be nil.
func putBuffer(buf *[]byte) {
	if buf != nil && cap(*buf) <= maxPooled {
		buffers.Put(buf)
	}
}
