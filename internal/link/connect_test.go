package link_test

// Links in tests, and the transports they are made of.

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
)

// giveaway is a ResponseWriter that can be hijacked.
type giveaway struct {
	nc     net.Conn
	header http.Header
}

func (g giveaway) Header() http.Header         { return g.header }
func (g giveaway) WriteHeader(int)             {}
func (g giveaway) Write(p []byte) (int, error) { return len(p), nil }
func (g giveaway) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return g.nc, bufio.NewReadWriter(bufio.NewReader(g.nc), bufio.NewWriter(g.nc)), nil
}

// upgradeRequest returns a handshake's request, which offers compression.
func upgradeRequest() *http.Request {
	r, _ := http.NewRequest(http.MethodGet, "http://example.com/", nil)
	r.Header = http.Header{
		"Connection":               {"Upgrade"},
		"Upgrade":                  {"websocket"},
		"Sec-Websocket-Version":    {"13"},
		"Sec-Websocket-Key":        {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
	}
	return r
}

// usual returns a Config whose limits and timeouts affect no test.
func usual() link.Config {
	return link.Config{ReadLimit: -1, SendQueue: -1, SendWait: -1, Now: since(time.Now())}
}

// since returns a clock that counts from start.
func since(start time.Time) func() time.Duration {
	return func() time.Duration { return time.Since(start) + 1 }
}

// accept makes a link of a handshake's request.
func accept(t testing.TB, nc net.Conn, neg link.Negotiation, cfg *link.Config) *link.Conn {
	t.Helper()
	cfg.Poller = new(poll.Poller)
	c, err := link.Accept(giveaway{nc, make(http.Header)}, upgradeRequest(), neg, cfg)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return c
}

// connect makes a link of server and starts it. It ends with the test.
func connect(t testing.TB, server, peer net.Conn, cfg link.Config, neg link.Negotiation, message func(*owner, link.Message)) (*owner, *far) {
	t.Helper()
	f := &far{t: t, nc: peer, br: bufio.NewReader(peer)}
	answered := make(chan error, 1)
	go func() { // ends with the response
		_, err := http.ReadResponse(f.br, nil)
		answered <- err
	}()
	o := newOwner(t)
	if message != nil {
		o.message = func(m link.Message) { message(o, m) }
	}
	o.Conn = accept(t, server, neg, &cfg)
	if err := <-answered; err != nil || f.br.Buffered() != 0 {
		t.Fatalf("response: %v, and %d bytes after it", err, f.br.Buffered())
	}
	o.Bind(o, &o.traffic)
	o.Start()
	t.Cleanup(func() {
		o.Cut()
		<-o.done
		peer.Close()
	})
	return o, f
}

// memory returns a connection in memory that buffers size bytes.
func memory(_ testing.TB, size int) (server, peer net.Conn) {
	peer, server = hailtest.Pipe(size)
	return server, peer
}

// overTCP returns one over TCP with buffers of size, but not so small that the kernel's
// own timers (window probes) pace it.
func overTCP(t testing.TB, size int) (server, peer net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	size = max(size, 64<<10)
	for _, nc := range []net.Conn{server, peer} {
		nc.(*net.TCPConn).SetReadBuffer(size)
		nc.(*net.TCPConn).SetWriteBuffer(size)
	}
	peer.SetDeadline(time.Now().Add(30 * time.Second)) // fails a test that would hang
	return server, peer
}

var transports = map[string]func(t testing.TB, size int) (server, peer net.Conn){"memory": memory, "tcp": overTCP}
