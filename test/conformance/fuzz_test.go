package conformance_test

// A server against arbitrary bytes after the upgrade.

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

const fuzzLimit = 700

// stream turns the fuzzer's bytes into a client's frames, most of them legal.
func stream(script []byte) []byte {
	var out []byte
	next := func() (c byte) {
		if len(script) > 0 {
			c, script = script[0], script[1:]
		}
		return c
	}
	for len(script) > 0 {
		kind, size, odd := next(), int(next()), next()
		f := hailtest.Frame{Fin: kind&0x10 == 0, Opcode: hailtest.Opcode([]byte{0, 1, 2, 8, 9, 10, 1, 0}[kind&7]), Key: [4]byte{odd, 1, 2, 3}}
		if kind&0x20 != 0 {
			size *= 5
		}
		if f.Opcode >= hailtest.OpClose {
			size = min(size, 125)
			f.Fin = true
		}
		f.Payload = make([]byte, size)
		n := copy(f.Payload, script)
		script = script[n:]
		if kind&0x40 == 0 {
			for i := range f.Payload { // mostly text
				f.Payload[i] = 'a' + f.Payload[i]%26
			}
		}
		if f.Opcode == hailtest.OpClose && size >= 2 && odd&0x40 == 0 {
			binary.BigEndian.PutUint16(f.Payload, 1000+uint16(odd&0x0F))
		}
		switch {
		case odd < 0xC0:
			if kind&0x80 != 0 && f.Opcode != 0 && f.Opcode < hailtest.OpClose {
				f.RSV1, f.Payload = true, []byte(compress(f.Payload))
				if odd&0x20 != 0 {
					f.Payload[0] |= 1 // BFINAL
				}
			}
		case odd < 0xC8:
			f.RSV1, f.RSV2, f.RSV3 = odd&1 != 0, odd&2 != 0, odd&4 != 0
		case odd < 0xCC:
			f.Unmasked = true
		case odd < 0xD0:
			f.LengthSize = []int{2, 8, 8, 8}[odd&3]
		case odd < 0xD8:
			f.Opcode = hailtest.Opcode(kind & 0x0F)
		case odd < 0xE0:
			f.Fin = !f.Fin
		case odd < 0xE8:
			f.RSV1 = true
		case odd < 0xEC:
			f.Length = 1 << (odd * 21 % 64)
		}
		out = append(out, f.Bytes()...)
	}
	return out
}

// FuzzServer sends an upgraded connection arbitrary bytes in arbitrary pieces. The outcome has to be the model's, and no
// goroutine may be left: the bubble checks that.
func FuzzServer(f *testing.F) {
	f.Add([]byte("\x01\x05\x00hello\x02\x03\x00abc\x03\x02\x00"), []byte{1, 2, 3}, byte(0), true)
	f.Add([]byte("\x11\x03\x00abc\x04\x02\x00hi\x00\x03\x00xyz\x03\x04\x05"), []byte{7}, byte(1), true)
	f.Add([]byte("\x81\xf0\x00abc\xa2\xff\x20"), []byte{}, byte(3), true)
	f.Add([]byte("\x91\x20\x00abc\x04\x00\x00\x00\x04\x00"), []byte{9, 9}, byte(5), true)
	f.Add([]byte("\x41\x04\x00\xf0\x9f\x98\x80\x41\x03\x00\xed\xa0\x80"), []byte{6, 1, 1, 1, 1, 1}, byte(8), true)
	f.Add([]byte("\x21\xff\x00\x22\x8c\x00\x22\x8d\x00"), []byte{100}, byte(0), true)
	f.Add([]byte(helloFinal), []byte{3}, byte(1), false)
	f.Add([]byte("\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01mask"), []byte{2}, byte(16), false)
	f.Add(frames(slices.Concat(deflated(helloFinal), deflated(helloBlocks), []hailtest.Frame{bye})...), []byte{30}, byte(1), false)
	f.Add(frames(deflated(compress(make([]byte, 5000)))...), []byte{3, 4}, byte(3), false)
	f.Fuzz(func(t *testing.T, b, cuts []byte, flags byte, structured bool) {
		b, cuts = b[:min(len(b), 2<<10)], cuts[:min(len(cuts), 16)]
		if structured {
			b = stream(b)
		}
		synctest.Test(t, func(t *testing.T) {
			serve(t, b, cuts, flags, func(h http.Handler) transport { return connect(t, h) }, synctest.Wait)
		})
	})
}

// TestStreams does the same as FuzzServer over real sockets.
func TestStreams(t *testing.T) {
	t.Parallel()
	for kind, connect := range map[string]func(*testing.T, http.Handler) transport{"TCP": connectTCP, "TLS": connectTLS} {
		streams := 300
		if testing.Short() {
			streams = 30
		}
		for seed := range streams {
			t.Run(fmt.Sprint(kind, ", seed ", seed), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(uint64(seed), 1))
				script, cuts := make([]byte, r.IntN(600)), make([]byte, r.IntN(8))
				for i := range script {
					// Mostly legal frames, because the first illegal one ends the stream.
					script[i] = byte(r.Uint32()) >> (r.UintN(4) & 1)
				}
				for i := range cuts {
					cuts[i] = byte(r.Uint32())
				}
				serve(t, stream(script), cuts, byte(r.Uint32()), func(h http.Handler) transport { return connect(t, h) }, runtime.Gosched)
			})
		}
	}
}

// transport is the client's end of a connection.
type transport interface {
	net.Conn
	CloseWrite() error
}

// serve sends b to a server, in pieces, and checks the outcome. Between pieces it calls pause.
func serve(t *testing.T, b, cuts []byte, flags byte, connect func(http.Handler) transport, pause func()) {
	var got []string
	server, ends := echo(hail.Options{Compression: flags&1 != 0, ReuseBuffers: flags&2 != 0, ReadLimit: fuzzLimit, PingInterval: -1})
	server.OnMessage = func(c *hail.Conn, m hail.Message) error {
		got = append(got, show(hailtest.Frame{Fin: true, Opcode: hailtest.Opcode(m.Type), Payload: m.Data}))
		return c.Send(m)
	}
	conn := connect(server)
	rest, early := b, 0
	if flags&4 != 0 && len(cuts) > 0 {
		early = min(int(cuts[0]), len(b)) // in the handshake's packet
	}
	conn.Write(append([]byte(with("x", "Sec-WebSocket-Extensions: "+offer)), rest[:early]...))
	rest = rest[early:]
	for _, cut := range cuts {
		pause()
		n := min(int(cut), len(rest))
		conn.Write(rest[:n])
		rest = rest[n:]
	}
	conn.Write(rest)
	conn.CloseWrite()
	br := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %v, %v", resp, err)
	}
	answers := parse(t, br)
	info := <-ends
	if pause(); len(ends) > 0 {
		t.Errorf("OnClose was called again: %+v", <-ends)
	}
	want := read(b, fuzzLimit, flags&1 != 0)
	if !slices.Equal(got, want.messages) {
		t.Errorf("messages of % x: got %q, want %q", b, got, want.messages)
	}
	check(t, b, answers, want, info)
}

// connect returns the client's end of a connection in memory, over which an HTTP server serves the handler.
// The test's end ends both.
func connect(t *testing.T, handler http.Handler) *hailtest.PipeConn {
	client, conn := hailtest.Pipe(1 << 20)
	serveHTTP(t, handler, &single{conn: conn, closed: make(chan struct{})}, client)
	return client
}

// connectTCP is connect over a loopback socket.
func connectTCP(t *testing.T, handler http.Handler) transport {
	ln, nc := loopback(t)
	serveHTTP(t, handler, ln, nc)
	return nc
}

// connectTLS is connectTCP with TLS in process.
func connectTLS(t *testing.T, handler http.Handler) transport {
	ln, nc := loopback(t)
	serveHTTP(t, handler, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{kit.Certificate()}}), nc)
	return tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
}

// loopback returns a listener and a connection to it.
func loopback(t *testing.T) (net.Listener, *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(kit.Ample))
	return ln, nc.(*net.TCPConn)
}

// serveHTTP serves the handler until the test's end, which closes the client's connection first.
func serveHTTP(t *testing.T, handler http.Handler, ln net.Listener, client net.Conn) {
	kit.Serve(t, ln, handler)
	t.Cleanup(func() { client.Close() })
}

// check compares the server's bytes with the outcome.
func check(t *testing.T, b []byte, answers []string, want outcome, info hail.CloseInfo) {
	t.Helper()
	data, pongs := apart(answers)
	code := lost
	if n := len(data); n > 0 {
		if _, err := fmt.Sscanf(data[n-1], "close %d", &code); err == nil {
			data = data[:n-1]
		}
	}
	if !want.allows(code) {
		t.Errorf("end of % x: got close code %d, want one of %v", b, code, want.ends)
	}
	if int(info.Code) != code {
		t.Errorf("end of % x: OnClose was told %d %q (%v), the peer %d", b, info.Code, info.Cause, info.Err, code)
	}
	if info.Cause == hail.CausePeerGone {
		// The client has ended its sending direction without a close frame: what was not written by then is not.
		want.messages = want.messages[:min(len(data), len(want.messages))]
		want.pongs = want.pongs[:min(len(pongs), len(want.pongs))]
	}
	if !slices.Equal(data, want.messages) || !slices.Equal(pongs, want.pongs) {
		t.Errorf("answers to % x: got %q and %q, want %q and %q", b, data, pongs, want.messages, want.pongs)
	}
}

// parse returns a server's frames as show writes them, and fails on a frame that no server may send.
func parse(t *testing.T, r *bufio.Reader) (list []string) {
	t.Helper()
	for {
		f, err := readFrame(r)
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("after %q: %v", list, err)
		}
		if f.RSV1 {
			f.RSV1, f.Payload = false, kit.Inflated(t, f.Payload)
		}
		list = append(list, show(f))
	}
}

// single is a listener that accepts one connection.
type single struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *single) Accept() (conn net.Conn, err error) {
	if conn, l.conn = l.conn, nil; conn != nil {
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *single) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *single) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
