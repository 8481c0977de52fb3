package hailtest

// Dialing: from a handler or a URL to a connected peer, or to the response of a server that refuses.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TB is the part of a [testing.TB] that the package uses. An Example or a program can pass its own; its
// Fatalf must not return.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Dial runs h in an HTTP server of its own and opens a WebSocket connection to target, for example
// "/ws?room=1".
//
// The server is net/http's. The connection is a [Pipe], unless the options [TCP] and [TLS] choose another.
// The Host is example.com. Dial returns when the server has accepted the handshake, and fails the test
// if the server refuses: see [Handshake]. A cleanup of tb closes the connection, with code 1001 if it is
// still open, stops the server, and fails the test if h has not returned in time.
//
// In a [testing/synctest] bubble everything runs inside the bubble, over memory.
func Dial(tb TB, h http.Handler, target string, opts ...Option) *Peer {
	tb.Helper()
	o := newOptions(opts)
	return dial(tb, serve(tb, h, o), target, o)
}

// DialURL opens a WebSocket connection to a running server, "ws://127.0.0.1:8080/ws" or "wss://...",
// over TCP. A cleanup of tb closes the connection.
func DialURL(tb TB, rawURL string, opts ...Option) *Peer {
	tb.Helper()
	o := newOptions(opts)
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		tb.Fatalf("hailtest: DialURL: %q is not a ws or wss URL", rawURL)
	}
	e := endpoint{host: u.Host}
	port := "80"
	if u.Scheme == "wss" {
		e.tls, port = o.tls.Clone(), "443"
		if e.tls == nil {
			e.tls = &tls.Config{}
		}
		if e.tls.ServerName == "" {
			e.tls.ServerName = u.Hostname()
		}
	}
	if u.Port() != "" {
		port = u.Port()
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	e.dial = func(ctx context.Context, o *options) (net.Conn, error) { return dialTCP(ctx, addr, o) }
	return dial(tb, e, u.RequestURI(), o)
}

// Handshake sends the handshake of [Dial] and returns the server's response, a refusal too. The Body has been
// read and can be read again. The connection is closed when Handshake returns.
//
// It fails the test if no response comes.
func Handshake(tb TB, h http.Handler, target string, opts ...Option) *http.Response {
	tb.Helper()
	o := newOptions(opts)
	w := connect(tb, serve(tb, h, o), o)
	defer w.gate.Close()
	hs := newHandshake(serverName, target, o)
	resp, err := w.roundTrip(append(hs.bytes(), o.early...), http.MethodGet)
	if err != nil {
		tb.Fatalf("hailtest: Handshake %s: got %v, want a response", target, err)
	}
	return resp
}

// Exchange sends request as it is, such as "GET /ws HTTP/1.1\r\n..." or bytes that no HTTP client would send.
// It returns the bytes of the first response, or "" if the server closed the connection instead. Only the
// options of the transport matter. The connection is closed when Exchange returns.
func Exchange(tb TB, h http.Handler, request string, opts ...Option) string {
	tb.Helper()
	o := newOptions(opts)
	w := connect(tb, serve(tb, h, o), o)
	defer w.gate.Close()
	var got bytes.Buffer
	w.br = bufio.NewReader(io.TeeReader(w.conn, &got))
	method, _, _ := strings.Cut(request, " ")
	_, err := w.roundTrip([]byte(request), method)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		tb.Fatalf("hailtest: Exchange: got %s after %v, want a response", clip(got.Bytes()), o.timeout)
	}
	return string(got.Bytes()[:got.Len()-w.br.Buffered()])
}

// endpoint is the destination of a dial.
type endpoint struct {
	host string
	tls  *tls.Config // nil: no TLS
	dial func(context.Context, *options) (net.Conn, error)
}

// serve starts a server for h that ends with the test.
func serve(tb TB, h http.Handler, o *options) endpoint {
	tb.Helper()
	s, err := startServer(h, o)
	if err != nil {
		tb.Fatalf("hailtest: listen: %v", err)
	}
	tb.Cleanup(func() {
		if !s.stop(o.timeout) {
			tb.Errorf("hailtest: the handler has not returned %v after its connection was closed:\n%s", o.timeout, stacks())
		}
	})
	return endpoint{host: serverName, tls: s.tls, dial: s.dial}
}

// wire is the client's end of a connection.
type wire struct {
	transport net.Conn // a *PipeConn or a *net.TCPConn
	gate      *gate    // over transport
	conn      net.Conn // gate, or TLS over it
	br        *bufio.Reader
}

// connect opens a connection with a deadline after the timeout; established removes the deadline.
func connect(tb TB, e endpoint, o *options) *wire {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	transport, err := e.dial(ctx, o)
	if err != nil {
		tb.Fatalf("hailtest: connect: %v", err)
	}
	w := &wire{transport: transport, gate: newGate(transport)}
	tb.Cleanup(func() { w.gate.Close() })
	transport.SetDeadline(time.Now().Add(o.timeout))
	w.conn = w.gate
	if e.tls != nil {
		conn := tls.Client(w.gate, e.tls)
		if err := conn.Handshake(); err != nil {
			tb.Fatalf("hailtest: connect: TLS: %v", err)
		}
		w.conn = conn
	}
	w.br = bufio.NewReader(w.conn)
	return w
}

func (w *wire) established() { w.transport.SetDeadline(time.Time{}) }

// roundTrip sends a request and reads the response with its body.
func (w *wire) roundTrip(request []byte, method string) (*http.Response, error) {
	// A server may respond and close before it has read all: the response counts, not the error of the write.
	_, writeErr := w.conn.Write(request)
	resp, err := http.ReadResponse(w.br, &http.Request{Method: method})
	if err != nil {
		return nil, errors.Join(writeErr, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if resp.Close && resp.ProtoAtLeast(1, 1) {
		// ReadResponse removes the field, and tests check it.
		resp.Header.Set("Connection", "close")
	}
	return resp, nil
}

func dial(tb TB, e endpoint, target string, o *options) *Peer {
	tb.Helper()
	w := connect(tb, e, o)
	hs := newHandshake(e.host, target, o)
	resp, err := w.roundTrip(append(hs.bytes(), o.early...), http.MethodGet)
	if err != nil {
		tb.Fatalf("hailtest: Dial %s: got %v, want 101 Switching Protocols", target, err)
	}
	if err := hs.check(resp); err != nil {
		body, _ := io.ReadAll(resp.Body)
		tb.Fatalf("hailtest: Dial %s: %v\nthe answer was %s %v, %s", target, err, resp.Status, resp.Header, clip(body))
	}
	const extensions = "Sec-WebSocket-Extensions"
	deflate, err := newDeflate(hs.header.Get(extensions), resp.Header.Get(extensions))
	if err != nil {
		tb.Fatalf("hailtest: Dial %s: %v", target, err)
	}
	w.established()
	return newPeer(tb, w, resp, deflate, o)
}

// handshake is a client's opening handshake (RFC 6455, section 4.1).
type handshake struct {
	host, target string
	header       http.Header
}

func newHandshake(host, target string, o *options) *handshake {
	var nonce [16]byte
	rand.Read(nonce[:])
	hs := &handshake{host: host, target: target, header: http.Header{
		"Host":                  {host},
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {base64.StdEncoding.EncodeToString(nonce[:])},
	}}
	for key, values := range o.header {
		hs.header[key] = values
		if values[0] == "" {
			delete(hs.header, key)
		}
	}
	return hs
}

func (hs *handshake) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", hs.target)
	hs.header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// check returns an error if the server's response is wrong (RFC 6455, section 4.1, the list after "once the
// client's opening handshake has been sent").
func (hs *handshake) check(resp *http.Response) error {
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("got %s, want 101 Switching Protocols", resp.Status)
	}
	if got := resp.Header.Get("Upgrade"); !strings.EqualFold(got, "websocket") {
		return fmt.Errorf("got Upgrade: %s, want websocket", got)
	}
	if got := resp.Header.Get("Connection"); !slices.Contains(tokens(strings.ToLower(got)), "upgrade") {
		return fmt.Errorf("got Connection: %s, want Upgrade", got)
	}
	want := accept(hs.header.Get("Sec-WebSocket-Key"))
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != want {
		return fmt.Errorf("got Sec-WebSocket-Accept: %s, want %s", got, want)
	}
	got, offered := resp.Header.Get("Sec-WebSocket-Protocol"), hs.header.Get("Sec-WebSocket-Protocol")
	if got != "" && !slices.Contains(tokens(offered), got) {
		return fmt.Errorf("got subprotocol %q, offered was %q", got, offered)
	}
	return nil
}

// tokens splits a header field that is a list.
func tokens(field string) []string {
	list := strings.Split(field, ",")
	for i, token := range list {
		list[i] = strings.TrimSpace(token)
	}
	return list
}

func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
