package link

// The answer to the handshake, and taking over the request's connection.

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"time"

	"example.com/hail/internal/wire"
)

// responseTimeout limits the write of the response. The socket buffer is empty, so slow peers do not need it.
const responseTimeout = 10 * time.Second

// Negotiation is the server's choice in a handshake.
type Negotiation struct {
	Subprotocol string // one that the client offers, or ""
	Compression bool
}

// HijackError says that a ResponseWriter could not be hijacked. Nothing was written.
type HijackError struct{ Err error }

func (e *HijackError) Error() string { return "hijack: " + e.Err.Error() }
func (e *HijackError) Unwrap() error { return e.Err }

// Accept performs the server's side of the handshake (RFC 6455 section 4.2.2). The caller has checked that the request is
// legal. The error is a *HijackError, or the transport's. In the second case Accept has closed the transport.
func Accept(w http.ResponseWriter, r *http.Request, neg Negotiation, cfg *Config) (*Conn, error) {
	c := &Conn{cfg: cfg, protocol: neg.Subprotocol}
	extension := ""
	if neg.Compression {
		offers, _ := wire.ParseExtensions(r.Header["Sec-Websocket-Extensions"])
		extension, c.deflates = wire.AcceptDeflate(offers)
	}
	nc, brw, err := hijack(w)
	if err != nil {
		return nil, &HijackError{err}
	}
	response := appendResponse(nil, r.Header.Get("Sec-WebSocket-Key"), c.protocol, extension, w.Header())
	if err := respond(nc, response); err != nil {
		nc.Close()
		return nil, fmt.Errorf("write the handshake's response: %w", err)
	}
	c.nc, c.remote = nc, nc.RemoteAddr()
	if brw != nil && brw.Reader != nil && brw.Reader.Buffered() > 0 {
		// The peer did not wait for the response.
		early, _ := brw.Reader.Peek(brw.Reader.Buffered())
		c.in.start(early)
	}
	return c, nil
}

// hijack hijacks the request's connection. Some wrappers panic if the writer that they wrap cannot be hijacked.
func hijack(w http.ResponseWriter) (nc net.Conn, brw *bufio.ReadWriter, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%T panicked: %v", w, v)
		}
	}()
	return http.NewResponseController(w).Hijack()
}

// appendResponse appends the response: the headers of the handshake, and those that handlers in front have set. It is
// written after hijacking, because some frameworks refuse to hijack after WriteHeader.
func appendResponse(b []byte, key, protocol, extension string, outer http.Header) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = wire.AppendAccept(b, key)
	b = append(b, "\r\n"...)
	if protocol != "" {
		b = append(append(append(b, "Sec-WebSocket-Protocol: "...), protocol...), "\r\n"...)
	}
	if extension != "" {
		b = append(append(append(b, "Sec-WebSocket-Extensions: "...), extension...), "\r\n"...)
	}
	if len(outer) > 0 {
		var extra bytes.Buffer
		for name, values := range outer {
			if !notForUpgrade[http.CanonicalHeaderKey(name)] {
				http.Header{name: values}.Write(&extra)
			}
		}
		b = append(b, extra.Bytes()...)
	}
	return append(b, "\r\n"...)
}

// respond writes the response.
func respond(nc net.Conn, response []byte) error {
	nc.SetWriteDeadline(time.Now().Add(responseTimeout))
	_, err := nc.Write(response)
	nc.SetDeadline(time.Time{}) // http.Server may have set one
	return err
}

// notForUpgrade are headers of a response with a body, and those that the handshake sets.
var notForUpgrade = map[string]bool{
	"Connection": true, "Upgrade": true, "Keep-Alive": true,
	"Content-Length": true, "Content-Type": true, "Content-Encoding": true,
	"Transfer-Encoding": true, "Trailer": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
}

// start buffers bytes that came with the handshake, for Next to read.
func (in *in) start(early []byte) {
	in.buf = newBuffer(len(early))
	in.w = copy(in.buf.b[:cap(in.buf.b)], early)
	in.buf.b = in.buf.b[:cap(in.buf.b)]
}
