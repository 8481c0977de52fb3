package hostile_test

// The connections of attackers.

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// client is an attacker's connection, with or without TLS.
type client struct {
	t   *testing.T
	nc  net.Conn
	tcp net.Conn // below TLS
	br  *bufio.Reader
}

// option changes a client's handshake or socket.
type option func(c *client, header *string)

// deflates offers compression.
func deflates(_ *client, header *string) {
	*header += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
}

// little makes the system keep few bytes that the client has not read.
func little(c *client, _ *string) { c.tcp.(*net.TCPConn).SetReadBuffer(16 << 10) }

// multipath is a kind whose client asks for Multipath TCP, which a listener accepts. It is the same as epoll if the system
// does not support it.
const multipath = "multipath"

func dial(t *testing.T, kind, addr string) *client {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	var d net.Dialer
	d.SetMultipathTCP(kind == multipath)
	tcp, err := d.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	nc := tcp
	if kind == "tls" {
		nc = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	}
	nc.SetDeadline(time.Now().Add(kit.Ample))
	return &client{t, nc, tcp, bufio.NewReader(nc)}
}

// write writes b, or as much as the server reads before it ends the connection.
func (c *client) write(b []byte) { c.nc.Write(b) }

// upgrade does the handshake, and returns after the response.
func (c *client) upgrade(opts ...option) {
	c.t.Helper()
	header := strings.TrimSuffix(kit.Handshake, "\r\n")
	for _, opt := range opts {
		opt(c, &header)
	}
	io.WriteString(c.nc, header+"\r\n")
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("handshake: got %v, %v, want 101", resp, err)
	}
}

// take reads n bytes from the server.
func (c *client) take(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.br, b); err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return b
}

// closing reads a close frame, and nothing before it, and returns its code.
func (c *client) closing() hail.StatusCode {
	c.t.Helper()
	head := c.take(2)
	if head[0] != 0x80|byte(hailtest.OpClose) || head[1] < 2 {
		c.t.Fatalf("got a frame that begins with % x, want a close frame with a code", head)
	}
	return hail.StatusCode(binary.BigEndian.Uint16(c.take(int(head[1]))))
}

// reset ends the connection with an RST. It may have ended already.
func (c *client) reset() {
	if nc, ok := c.tcp.(*net.TCPConn); ok {
		nc.SetLinger(0)
	}
	c.tcp.Close()
}
