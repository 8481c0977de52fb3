package link

// Illegal frames. The engine says what is wrong with one.

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"example.com/hail/internal/wire"
)

var (
	errLong    = errors.New("payload length in more bytes than it needs")
	errIllegal = errors.New("illegal frame")
	errNoMore  = errors.New("link: nothing more to judge")
)

// openMessage is an empty first fragment. After it the engine is inside a message.
const openMessage = "\x02\x80\x00\x00\x00\x00"

// judge returns the violation of an illegal frame. b begins with the frame's header, and holds as much of the payload as
// the engine needs.
func (c *Conn) judge(b []byte) *Violation {
	var head []byte
	if c.in.part != nil {
		head = append(head, openMessage...)
	}
	err := engineError(append(head, b...))
	if err == nil {
		err = errIllegal // the engine accepts more than the link
	}
	c.in.lost = true
	return &Violation{Code: codeProtocol, Reason: "protocol error", Err: err, Lost: true}
}

// engineError returns the error of an engine that reads b, nil if the engine asks for more. A connection ends with its
// first illegal frame, so each frame gets a new engine.
func engineError(b []byte) error {
	nc := &frameConn{unread: b}
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {base64.StdEncoding.EncodeToString(make([]byte, 16))},
	}}
	// The engine negotiates no extension, because the link inflates messages.
	ws, err := websocket.Accept(&hijacker{make(http.Header), nc}, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		panic("hail: the protocol engine refuses a plain handshake: " + err.Error())
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	_, message, err := ws.Reader(context.Background())
	if err == nil {
		_, err = io.Copy(io.Discard, message)
	}
	if errors.Is(err, errNoMore) {
		return nil
	}
	return err
}

// hijacker is an http.ResponseWriter whose Hijack returns a frameConn.
type hijacker struct {
	header http.Header
	nc     *frameConn
}

func (h *hijacker) Header() http.Header         { return h.header }
func (h *hijacker) WriteHeader(int)             {}
func (h *hijacker) Write(p []byte) (int, error) { return len(p), nil }

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	const size = 2 * wire.MaxHeader
	return h.nc, bufio.NewReadWriter(bufio.NewReaderSize(h.nc, size), bufio.NewWriterSize(h.nc, size)), nil
}

// frameConn is the net.Conn that an engine reads a frame from. It drops the engine's answers.
type frameConn struct{ unread []byte }

func (c *frameConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		return 0, errNoMore
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *frameConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *frameConn) Close() error                     { return nil }
func (c *frameConn) LocalAddr() net.Addr              { return nil }
func (c *frameConn) RemoteAddr() net.Addr             { return nil }
func (c *frameConn) SetDeadline(time.Time) error      { return nil }
func (c *frameConn) SetReadDeadline(time.Time) error  { return nil }
func (c *frameConn) SetWriteDeadline(time.Time) error { return nil }
