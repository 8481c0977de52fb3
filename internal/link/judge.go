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

// openMessage is an empty first fragment. After it the engine is amid a message.
const openMessage = "\x02\x80\x00\x00\x00\x00"

// judge returns the violation of an illegal frame. b begins with the frame's header and has as much of the payload as the
// engine needs.
func (c *Conn) judge(b []byte) *Violation {
	var head []byte
	if c.in.part != nil {
		head = append(head, openMessage...)
	}
	err := engineError(append(head, b...))
	if err == nil {
		err = errIllegal // the engine allows more than the link
	}
	c.in.broken = true
	return &Violation{Code: codeProtocol, Reason: "protocol error", Err: err, Lost: true}
}

// engineError returns the error of an engine that reads b, nil if it asks for more. A connection ends with its first illegal
// frame, so an engine is made for each.
func engineError(b []byte) error {
	exhibit := &exhibit{rest: b}
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {base64.StdEncoding.EncodeToString(make([]byte, 16))},
	}}
	// It negotiates no extension: compression is the link's.
	ws, err := websocket.Accept(&backdoor{make(http.Header), exhibit}, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
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

// backdoor is the http.ResponseWriter from which an engine gets its connection.
type backdoor struct {
	header  http.Header
	exhibit *exhibit
}

func (b *backdoor) Header() http.Header         { return b.header }
func (b *backdoor) WriteHeader(int)             {}
func (b *backdoor) Write(p []byte) (int, error) { return len(p), nil }

func (b *backdoor) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	const size = 2 * wire.MaxHeader
	return b.exhibit, bufio.NewReadWriter(bufio.NewReaderSize(b.exhibit, size), bufio.NewWriterSize(b.exhibit, size)), nil
}

// exhibit is the net.Conn that an engine reads a frame from. The engine's answers are dropped.
type exhibit struct{ rest []byte }

func (e *exhibit) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		return 0, errNoMore
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *exhibit) Write(p []byte) (int, error)      { return len(p), nil }
func (e *exhibit) Close() error                     { return nil }
func (e *exhibit) LocalAddr() net.Addr              { return nil }
func (e *exhibit) RemoteAddr() net.Addr             { return nil }
func (e *exhibit) SetDeadline(time.Time) error      { return nil }
func (e *exhibit) SetReadDeadline(time.Time) error  { return nil }
func (e *exhibit) SetWriteDeadline(time.Time) error { return nil }
