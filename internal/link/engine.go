package link

// What is not a plain frame: fragments, compressed messages, closes and everything illegal
// goes through the engine, which reads from a shim that never gives it a byte too many.
// To the engine a compressed message is a plain one: it is inflated behind it.

import (
	"bufio"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"example.com/hail/internal/wire"
)

var (
	errLong = errors.New("payload length in more bytes than it needs")
	// errLeft is the shim's where our close frame is queued: what comes now is discard's.
	errLeft = errors.New("link: message left")
)

// engine is a protocol engine behind its shim. It belongs to no connection, but while it reads a message for one.
type engine struct {
	ws   *websocket.Conn
	shim shim
}

// Engines keeps the engines of a server for the next message. Its zero value is ready. They are not everybody's:
// an engine has channels, which belong to the testing/synctest bubble that they were made in.
type Engines struct{ pool sync.Pool }

func (es *Engines) get() *engine {
	if e, _ := es.pool.Get().(*engine); e != nil {
		return e
	}
	return newEngine()
}

// nextFromEngine has an engine read one message, or whatever else comes first.
// It waits for the message's last byte.
func (c *Conn) nextFromEngine() (m Message, ok bool, err error) {
	c.Stamps.Message.Start(c.cfg.Clock.Now())
	e := c.cfg.Engines.get()
	e.shim.c, c.engine = c, e
	m, ok, err = c.readFromEngine(e)
	e.shim.c, c.engine = nil, nil
	if err == nil {
		c.cfg.Engines.pool.Put(e)
	} else {
		e.ws.CloseNow() // it has no socket: this only gives its own buffers back
	}
	if err == errLeft {
		err = nil
	}
	return m, ok, err
}

func (c *Conn) readFromEngine(e *engine) (m Message, ok bool, err error) {
	e.shim.begin()
	kind, r, err := e.ws.Reader(context.Background())
	if err != nil {
		return m, false, c.engineError(err)
	}
	read := c.readAll
	if e.shim.deflated {
		read = c.inflateAll
	}
	buf, err := read(r, kind == websocket.MessageText)
	if err == nil {
		err = e.shim.err // to the engine a message that breaks off is one that ends
	}
	if err != nil {
		buf.free()
		return m, false, c.engineError(err)
	}
	c.Stamps.Message.Clear()
	if c.flags.closing.Load() {
		buf.free()
		return m, false, nil
	}
	c.hold(c.in.more())
	m.Text = kind == websocket.MessageText
	if c.cfg.Reuse {
		c.in.lent, m.Data = buf, buf.b
	} else {
		m.Data = append([]byte{}, buf.b...)
		buf.free()
	}
	return m, true, nil
}

// readAll reads a message into a buffer that grows with what has come.
func (c *Conn) readAll(r io.Reader, text bool) (*buffer, error) {
	var check wire.UTF8
	buf := newBuffer(classes[0])
	for {
		buf = buf.room(1)
		free := buf.b[len(buf.b):cap(buf.b)]
		if text {
			// The engine waits until what it is given is full, but text fails with its first wrong byte.
			free = free[:min(len(free), max(1, c.engine.shim.ready()))]
		}
		n, err := r.Read(free)
		if text && !check.Write(free[:n]) {
			return buf, errNotUTF8
		}
		buf.b = buf.b[:len(buf.b)+n]
		switch {
		case err == io.EOF && text && !check.Done():
			return buf, errNotUTF8
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// engineError says what an error of the engine was about.
func (c *Conn) engineError(err error) error {
	shim := &c.engine.shim
	// What of the frame the engine has not read is skipped.
	c.in.skip, shim.left = shim.left, 0
	if shim.err != nil {
		return shim.err
	}
	var violation *Violation
	var peer websocket.CloseError
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &violation):
		return violation
	case errors.As(err, &peer):
		var wrong error
		if !utf8.ValidString(peer.Reason) {
			wrong = wire.ErrReason // the engine does not look at it
		}
		return c.peerClosed(int(peer.Code), peer.Reason, wrong)
	case errors.Is(err, errNotUTF8):
		return &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: errNotUTF8}
	case errors.As(err, &corrupt), err == io.ErrUnexpectedEOF:
		return &Violation{Code: codeInvalid, Reason: "invalid compressed data", Err: err}
	default:
		c.in.broken = true
		return &Violation{Code: codeProtocol, Reason: "protocol error", Err: err, Lost: true}
	}
}

// shim is the net.Conn that the engine reads from: the frames in the link's buffer, one at a time.
// What the engine would write, pongs and closes, the link writes itself.
type shim struct {
	c      *Conn
	left   uint64 // bytes of the current frame that the engine has not read
	total  uint64 // payload of the current message so far, by its headers
	frames uint64 // looked at
	err    error  // why there is no more: the transport's, a limit, or errLeft

	begun    bool // a data frame of the current message was read
	deflated bool // the current message is compressed
}

// begin is called where a message begins.
func (s *shim) begin() { s.total, s.begun, s.deflated = 0, false, false }

func (s *shim) Read(p []byte) (int, error) {
	in := &s.c.in
	if s.err == nil && s.left == 0 {
		s.err = s.nextFrame()
	}
	for s.err == nil && in.r == in.w {
		s.err = s.wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, in.unread()[:s.ready()])
	in.r += n
	s.left -= uint64(n)
	return n, nil
}

// ready returns how many bytes of the frame can be read without waiting.
func (s *shim) ready() int {
	return int(min(s.left, uint64(len(s.c.in.unread()))))
}

// nextFrame waits for a frame's header, and holds it against the limits before the engine sees it.
func (s *shim) nextFrame() error {
	in := &s.c.in
	for {
		if s.frames++; s.frames%maxShare == 0 {
			runtime.Gosched() // it does not let go until the message is whole
		}
		h, n := wire.Parse(in.unread())
		switch {
		case n == 0:
		case int64(h.Length) < 0:
			s.left = uint64(n) // the engine refuses the header
			return nil
		case h.Long: // which the engine does not refuse
			s.left = uint64(n) + h.Length
			return &Violation{Code: codeProtocol, Reason: "protocol error", Err: errLong}
		case h.Control() && h.Length <= wire.MaxControl && uint64(in.w-in.r-n) < h.Length:
			// The engine gives a control frame five seconds of its own: it gets whole ones.
		default:
			s.left = uint64(n) + h.Length
			if h.Control() {
				return nil
			}
			s.unmark(h)
			s.total += h.Length
			if s.deflated {
				return s.c.checkDeflated(s.total)
			}
			return s.c.checkLength(s.total)
		}
		if err := s.wait(); err != nil {
			return err
		}
	}
}

// unmark takes RSV1 off a message's first frame: it is the only one that may have it (RFC 7692 section 6).
func (s *shim) unmark(h wire.Header) {
	if !s.begun && h.Compressed() && h.Opcode() != wire.Continuation && s.c.deflates {
		s.c.in.unread()[0] &^= wire.RSV1
		s.deflated = true
	}
	s.begun = true
}

// wait reads on. Replies do not wait with it.
func (s *shim) wait() error {
	in := &s.c.in
	if in.err != nil {
		return in.err
	}
	s.c.endBatch()
	_, err := s.c.read(s.c.sock.ReadWait)
	if s.c.flags.closing.Load() {
		return errLeft
	}
	return err
}

func (s *shim) Write(p []byte) (int, error)      { return len(p), nil }
func (s *shim) Close() error                     { return nil }
func (s *shim) LocalAddr() net.Addr              { return nil }
func (s *shim) RemoteAddr() net.Addr             { return nil }
func (s *shim) SetDeadline(time.Time) error      { return nil }
func (s *shim) SetReadDeadline(time.Time) error  { return nil }
func (s *shim) SetWriteDeadline(time.Time) error { return nil }

// newEngine makes an engine by a handshake with itself. It negotiates no extension: compression is the link's.
func newEngine() *engine {
	e := new(engine)
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {base64.StdEncoding.EncodeToString(make([]byte, 16))},
	}}
	ws, err := websocket.Accept(&backdoor{make(http.Header), &e.shim}, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		OnPingReceived: func(_ context.Context, p []byte) bool {
			e.shim.c.pong(p) // it came between fragments; the engine does not answer it
			return false
		},
	})
	if err != nil {
		panic("hail: the protocol engine refuses a plain handshake: " + err.Error())
	}
	// Its finalizer is for its socket, of which it has none. It would keep the engine for ever: the garbage collector does not
	// free what is in a cycle with a finalizer.
	runtime.SetFinalizer(ws, nil)
	ws.SetReadLimit(-1) // the shim and the inflater hold a message against the limit
	e.ws = ws
	return e
}

// backdoor is the http.ResponseWriter by which an engine gets its shim.
type backdoor struct {
	header http.Header
	shim   *shim
}

func (b *backdoor) Header() http.Header         { return b.header }
func (b *backdoor) WriteHeader(int)             {}
func (b *backdoor) Write(p []byte) (int, error) { return len(p), nil }

// engineBuffer is for frame headers; large payloads go past it.
const engineBuffer = 16

func (b *backdoor) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return b.shim, bufio.NewReadWriter(
		bufio.NewReaderSize(b.shim, engineBuffer), bufio.NewWriterSize(b.shim, engineBuffer)), nil
}
