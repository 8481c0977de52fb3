package wire

// Compression of whole messages without context takeover (RFC 7692 section 7.2.1).

import (
	"compress/flate"
	"sync"
)

// deflater is a compressor, which is large, and the buffer for its output.
type deflater struct {
	w   *flate.Writer
	out appender
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	// The level is valid, so there is no error.
	d.w, _ = flate.NewWriter(&d.out, flate.BestSpeed)
	return d
}}

// AppendDeflated appends p, compressed as the payload of one frame with RSV1.
func AppendDeflated(dst, p []byte) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.b = dst
	d.w.Reset(&d.out)
	// An appender returns no error, so these return none.
	d.w.Write(p)
	d.w.Flush()
	dst = d.out.b
	d.out.b = nil
	// The flush ends with an empty block whose last four bytes are not sent.
	return dst[:len(dst)-4]
}
