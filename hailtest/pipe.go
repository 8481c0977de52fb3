package hailtest

// The pipe: a full-duplex connection in memory, with bounded buffers, that behaves like TCP.

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const defaultBufferSize = 64 << 10

// Pipe returns the two ends of a connection in memory.
//
// Each direction buffers up to size bytes; size <= 0 means 64 KiB. A Read blocks while its direction is
// empty, and a Write while it is full. Every wait is on a [sync.Cond] or a timer, so a pipe made in a
// [testing/synctest] bubble blocks durably and its deadlines follow the bubble's clock.
func Pipe(size int) (client, server *PipeConn) {
	return pipe(size,
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 49152},
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
}

func pipe(size int, clientAddr, serverAddr net.Addr) (client, server *PipeConn) {
	up, down := newHalf(size), newHalf(size)
	both := [2]*half{up, down}
	client = &PipeConn{in: down, out: up, both: both, local: clientAddr, remote: serverAddr}
	server = &PipeConn{in: up, out: down, both: both, local: serverAddr, remote: clientAddr}
	return client, server
}

// PipeConn is one end of a [Pipe].
//
// It is a [net.Conn]: its methods may be called from any goroutine, and a Write's bytes are never mixed
// with another's. Errors are a *[net.OpError] around [net.ErrClosed], [os.ErrDeadlineExceeded],
// [syscall.EPIPE] or [syscall.ECONNRESET]; the end of the stream is [io.EOF].
type PipeConn struct {
	in, out       *half
	both          [2]*half // the two, in the order in which they are locked
	local, remote net.Addr
}

// Read reads buffered bytes, up to len(b), and waits while there are none.
func (c *PipeConn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.opError("read", err)
}

// Write writes b and waits while the buffer is full. At a deadline or a close it returns how many bytes
// were buffered.
func (c *PipeConn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.opError("write", err)
}

// Close closes both directions. The other end reads the buffered bytes and then io.EOF; its writes fail
// with EPIPE.
func (c *PipeConn) Close() error {
	errOut := c.out.closeWrite()
	errIn := c.in.closeRead()
	return c.opError("close", errors.Join(errIn, errOut))
}

// CloseWrite half-closes: the other end reads the buffered bytes and then io.EOF. This end can still read.
func (c *PipeConn) CloseWrite() error {
	return c.opError("close", c.out.closeWrite())
}

// Reset closes both directions at once, as an RST does. Buffered bytes are lost. The other end's reads
// and writes fail with ECONNRESET, waiting ones too.
func (c *PipeConn) Reset() error {
	for _, h := range c.both {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wasReset = true
	}
	errOut := c.out.closeWriteLocked()
	errIn := c.in.closeReadLocked()
	return c.opError("close", errors.Join(errIn, errOut))
}

// LocalAddr returns this end's address, a *[net.TCPAddr].
func (c *PipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address, a *[net.TCPAddr].
func (c *PipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines. A deadline that has passed ends waiting calls too; the zero time
// means none.
func (c *PipeConn) SetDeadline(t time.Time) error {
	return c.opError("set", errors.Join(c.in.setReadDeadline(t), c.out.setWriteDeadline(t)))
}

// SetReadDeadline sets the deadline of Read.
func (c *PipeConn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.in.setReadDeadline(t))
}

// SetWriteDeadline sets the deadline of Write.
func (c *PipeConn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.out.setWriteDeadline(t))
}

func (c *PipeConn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, net.ErrClosed):
		err = net.ErrClosed
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
}

// half is one direction of a pipe.
type half struct {
	size int
	cond *sync.Cond // on mu; signals every change of the fields below

	// Guarded by mu.
	mu            sync.Mutex
	buf           bytes.Buffer
	writing       bool // a write is under way; others wait for their turn
	writeClosed   bool // by the writer: EOF follows the buffered bytes
	readClosed    bool // by the reader: writes fail
	wasReset      bool
	readDeadline  *deadline
	writeDeadline *deadline
}

// deadline is one setting of a deadline. Each setting has its own, so a timer that was stopped too late
// does not expire a newer setting.
type deadline struct {
	timer   *time.Timer
	expired bool
}

func newHalf(size int) *half {
	if size <= 0 {
		size = defaultBufferSize
	}
	h := &half{size: size, readDeadline: new(deadline), writeDeadline: new(deadline)}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readClosed:
			return 0, net.ErrClosed
		case h.wasReset:
			return 0, syscall.ECONNRESET
		case h.readDeadline.expired:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case h.buf.Len() > 0:
			h.cond.Broadcast()
			return h.buf.Read(b)
		case h.writeClosed:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (h *half) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing {
		if err := h.writableLocked(); err != nil {
			return 0, err
		}
		h.cond.Wait()
	}
	h.writing = true
	defer func() {
		h.writing = false
		h.cond.Broadcast()
	}()
	for {
		if err := h.writableLocked(); err != nil {
			return n, err
		}
		if m := min(h.size-h.buf.Len(), len(b)-n); m > 0 {
			h.buf.Write(b[n : n+m])
			n += m
			h.cond.Broadcast()
		}
		if n == len(b) {
			return n, nil
		}
		h.cond.Wait()
	}
}

func (h *half) writableLocked() error {
	switch {
	case h.writeClosed:
		return net.ErrClosed
	case h.wasReset:
		return syscall.ECONNRESET
	case h.readClosed:
		return syscall.EPIPE
	case h.writeDeadline.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// waitConsumed waits until the reader has read all bytes or will read no more, and reports whether that
// came within d.
func (h *half) waitConsumed(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit := h.newDeadlineLocked(d)
	defer limit.timer.Stop()
	for h.buf.Len() > 0 && !h.readClosed && !h.wasReset {
		if limit.expired {
			return false
		}
		h.cond.Wait()
	}
	return true
}

func (h *half) closeWrite() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closeWriteLocked()
}

func (h *half) closeWriteLocked() error {
	h.cond.Broadcast()
	if h.writeClosed {
		return net.ErrClosed
	}
	h.writeClosed = true
	h.writeDeadline.stop()
	return nil
}

func (h *half) closeRead() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closeReadLocked()
}

func (h *half) closeReadLocked() error {
	h.cond.Broadcast()
	if h.readClosed {
		return net.ErrClosed
	}
	h.readClosed = true
	h.readDeadline.stop()
	h.buf = bytes.Buffer{}
	return nil
}

func (h *half) setReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readClosed {
		return net.ErrClosed
	}
	h.readDeadline = h.replaceDeadlineLocked(h.readDeadline, t)
	return nil
}

func (h *half) setWriteDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writeClosed {
		return net.ErrClosed
	}
	h.writeDeadline = h.replaceDeadlineLocked(h.writeDeadline, t)
	return nil
}

func (h *half) replaceDeadlineLocked(old *deadline, t time.Time) *deadline {
	old.stop()
	h.cond.Broadcast()
	if t.IsZero() {
		return new(deadline)
	}
	if d := time.Until(t); d > 0 {
		return h.newDeadlineLocked(d)
	}
	return &deadline{expired: true}
}

func (h *half) newDeadlineLocked(after time.Duration) *deadline {
	d := new(deadline)
	d.timer = time.AfterFunc(after, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		d.expired = true
		h.cond.Broadcast()
	})
	return d
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
