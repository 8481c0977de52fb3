package link

// The handshake: the engine negotiates with a ResponseWriter of ours, and gets a connection of ours.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"example.com/hail/internal/wire"
)

const (
	// The engine reads headers through this, and large payloads past it.
	engineBuffer = 16
	// The response goes into an empty socket buffer, so this is not for slow peers.
	responseTimeout = 10 * time.Second
)

// Negotiation is what the server answers a handshake with.
type Negotiation struct {
	Subprotocol string // one that the client offers, or ""
	Compression bool
}

// HijackError says that a ResponseWriter would not give its connection away. Nothing was written.
type HijackError struct{ Err error }

func (e *HijackError) Error() string { return "hijack: " + e.Err.Error() }
func (e *HijackError) Unwrap() error { return e.Err }

// RefusedError says that the engine refused the request. Nothing was written.
type RefusedError struct {
	Status int
	Text   string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("handshake refused: %d %s", e.Status, e.Text)
}

// Accept performs the server's side of the handshake (RFC 6455 section 4.2). The request's origin
// is the caller's to check. Its errors are a *HijackError, a *RefusedError, or the transport's.
func Accept(w http.ResponseWriter, r *http.Request, neg Negotiation, cfg *Config) (*Conn, error) {
	c := &Conn{cfg: cfg}
	c.engine.shim.c = c
	hs := &handshake{outer: w, header: make(http.Header, 5), conn: c}
	if c.protocol = neg.Subprotocol; c.protocol != "" {
		hs.header.Set("Sec-WebSocket-Protocol", c.protocol)
	}
	if neg.Compression {
		c.negotiateDeflate(r, hs.header)
	}
	// The engine negotiates no extension: compression is ours.
	ws, err := websocket.Accept(hs, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		OnPingReceived:     c.enginePing,
	})
	switch {
	case hs.err != nil:
		return nil, hs.err
	case err != nil:
		return nil, &RefusedError{hs.status, strings.TrimSpace(hs.text.String())}
	}
	c.engine.ws = ws
	ws.SetReadLimit(-1) // the shim and the inflater hold a message against the limit
	return c, nil
}

// negotiateDeflate answers the request's offers of permessage-deflate.
func (c *Conn) negotiateDeflate(r *http.Request, response http.Header) {
	offers, _ := wire.ParseExtensions(r.Header["Sec-Websocket-Extensions"])
	if d, ok := wire.AcceptDeflate(offers); ok {
		c.window = d.Window
		response.Set("Sec-WebSocket-Extensions", d.Response)
	}
}

// handshake is the http.ResponseWriter and http.Hijacker that the engine works on. The status line
// and the headers are written after hijacking: some frameworks refuse to hijack after WriteHeader.
type handshake struct {
	outer  http.ResponseWriter
	header http.Header // the engine's own
	conn   *Conn
	status int
	text   bytes.Buffer
	err    error
}

func (hs *handshake) Header() http.Header         { return hs.header }
func (hs *handshake) WriteHeader(status int)      { hs.status = status }
func (hs *handshake) Write(p []byte) (int, error) { return hs.text.Write(p) }

// Hijack takes the connection over, answers the request, and gives the engine the shim.
func (hs *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := hs.takeOver()
	if err != nil {
		hs.err = &HijackError{err}
		return nil, nil, err
	}
	if err := hs.respond(nc); err != nil {
		nc.Close()
		hs.err = fmt.Errorf("write the handshake's response: %w", err)
		return nil, nil, err
	}
	hs.conn.nc = nc
	if brw != nil && brw.Reader != nil && brw.Reader.Buffered() > 0 {
		// The peer did not wait for the response.
		early, _ := brw.Reader.Peek(brw.Reader.Buffered())
		hs.conn.in.start(early)
	}
	shim := &hs.conn.engine.shim
	return shim, bufio.NewReadWriter(
		bufio.NewReaderSize(shim, engineBuffer), bufio.NewWriterSize(shim, engineBuffer)), nil
}

// takeOver hijacks. Some wrappers panic where the writer they wrap cannot be hijacked.
func (hs *handshake) takeOver() (nc net.Conn, brw *bufio.ReadWriter, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%T panicked: %v", hs.outer, v)
		}
	}()
	return http.NewResponseController(hs.outer).Hijack()
}

// respond writes the response: the engine's headers, and what handlers in front have set.
func (hs *handshake) respond(nc net.Conn) error {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	hs.header.Write(&b)
	for name, values := range hs.outer.Header() {
		if !notForUpgrade[http.CanonicalHeaderKey(name)] {
			http.Header{name: values}.Write(&b)
		}
	}
	b.WriteString("\r\n")
	nc.SetWriteDeadline(time.Now().Add(responseTimeout))
	_, err := nc.Write(b.Bytes())
	nc.SetDeadline(time.Time{}) // the server's own may still be set
	return err
}

// notForUpgrade are headers of a response with a body, and those that are the engine's to set.
var notForUpgrade = map[string]bool{
	"Connection": true, "Upgrade": true, "Keep-Alive": true,
	"Content-Length": true, "Content-Type": true, "Content-Encoding": true,
	"Transfer-Encoding": true, "Trailer": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
}

// start puts bytes that came with the handshake where the first turn finds them.
func (in *in) start(early []byte) {
	in.buf = newBuffer(len(early))
	in.w = copy(in.buf.b[:cap(in.buf.b)], early)
	in.buf.b = in.buf.b[:cap(in.buf.b)]
	in.fresh = true
}

// enginePing answers a ping that came between fragments; the engine does not.
func (c *Conn) enginePing(_ context.Context, p []byte) bool {
	c.pong(p)
	return false
}
