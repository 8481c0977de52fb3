package kit

// A client over TCP without a goroutine, for tests of many connections.

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/hail/hailtest"
)

// Handshake is the request of a client that offers nothing.
const Handshake = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// Caller is a client without a goroutine.
type Caller struct {
	*net.TCPConn
	br *bufio.Reader
}

// Listen serves h over TCP until the test ends, and returns the address.
func Listen(t testing.TB, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, ln, h)
	return ln.Addr().String()
}

// Serve serves h on ln until the test ends.
func Serve(t testing.TB, ln net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	done := make(chan struct{})
	go func() { // ends with Close; waited for by the cleanup
		defer close(done)
		server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// Call opens a connection. Its reads and writes have a deadline after Ample.
func Call(addr string) (*Caller, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &Caller{nc.(*net.TCPConn), bufio.NewReader(nc)}
	c.SetDeadline(time.Now().Add(Ample))
	io.WriteString(c, Handshake)
	resp, err := http.ReadResponse(c.br, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Next reads a frame of the server.
func (c *Caller) Next() (opcode hailtest.Opcode, payload []byte, err error) {
	first, payload, err := ReadFrame(c.br)
	return hailtest.Opcode(first & 0xF), payload, err
}

// Reset closes with an RST.
func (c *Caller) Reset() {
	c.SetLinger(0)
	c.Close()
}

// Callers opens n connections.
func Callers(t *testing.T, addr string, n int) []*Caller {
	t.Helper()
	var all []*Caller
	for range n {
		c, err := Call(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Reset) // a reset port is free at once
		all = append(all, c)
	}
	return all
}

// Exchange sends a message and reads the reply.
func (c *Caller) Exchange(t *testing.T, text string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(Ample))
	if _, err := c.Write(Message([]byte(text))); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, got, err := c.Next(); string(got) != text || err != nil {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}
