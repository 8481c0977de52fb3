package hostile_test

// Handshakes with many and long headers.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

// header is a handshake's header, in one or more lines.
type header struct {
	name   string
	values []string
}

// longHeaders returns headers of about size bytes each.
func longHeaders(size int) map[string]header {
	const extensions, protocol = "Sec-Websocket-Extensions", "Sec-Websocket-Protocol"
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	one := func(name, value string) header { return header{name, []string{value}} }
	many := func(name, value string) header { return header{name, slices.Repeat([]string{value}, size/8)} }
	return map[string]header{
		"extensions":                    one(extensions, fill("a,")),
		"empty extensions":              one(extensions, fill(",")+"a"),
		"parameters":                    one(extensions, "a"+fill(";b")),
		"parameters of deflate":         one(extensions, "permessage-deflate"+fill(";client_max_window_bits")),
		"offers of deflate":             one(extensions, fill("permessage-deflate;x,")+"a"),
		"unknown values of deflate":     one(extensions, fill("permessage-deflate;server_max_window_bits=99,")+"a"),
		"a quoted value":                one(extensions, `a;b="`+fill("x")+`"`),
		"a quoted value of escapes":     one(extensions, `a;b="`+fill(`\x`)+`"`),
		"a quoted value without an end": one(extensions, `a;b="`+fill("x")),
		"quotes":                        one(extensions, "a;b="+fill(`"`)),
		"white space":                   one(extensions, "a"+fill(" \t")+"b"),
		"white space between":           one(extensions, fill("a , ")),
		"a long name":                   one(extensions, fill("a")),
		"subprotocols":                  one(protocol, fill("a,")),
		"subprotocols in white space":   one(protocol, fill(" a ,")),
		"upgrade tokens":                one("Upgrade", fill("a,")+"websocket"),
		"connection tokens":             one("Connection", fill("upgrad,")+"upgrade"),
		"a key":                         one("Sec-Websocket-Key", fill("AAAA")),
		"an origin":                     one("Origin", "https://"+fill("a")+".example.com"),
		"an origin of labels":           one("Origin", "https://"+fill("a.")+"example"),
		"a port":                        one("Origin", "https://example.com:"+fill("1")),
		"lines of extensions":           many(extensions, "a;b"),
		"lines of commas":               many(extensions, ","),
		"lines of subprotocols":         many(protocol, "a, b"),
		"lines of upgrade tokens":       many("Upgrade", "websock"),
		"lines of connection tokens":    many("Connection", "upgrad,a"),
		"keys":                          many("Sec-Websocket-Key", "AAAA"),
		"versions":                      many("Sec-Websocket-Version", "13"),
		"origins":                       many("Origin", "https://a"),
	}
}

// parser returns a server that parses all of them.
func parser() *hail.Server {
	return &hail.Server{Options: hail.Options{Logger: kit.Quiet, Compression: true, Subprotocols: []string{"chat"},
		Origins: []string{"*a*a*a*a*b.example", "https://*.example.com:*"}}}
}

// TestHeaders compares a handshake's allocations with the bytes of its headers, for headers up to net/http's limit.
// TestHeadersTakeLinearTime checks that the time is linear too, and BenchmarkHeaders shows it.
func TestHeaders(t *testing.T) {
	const (
		size = 1 << 20
		// Bytes for each byte of the header, beyond those of any handshake: the buffer of a quoted value doubles.
		amplification = 16
		any           = 256 << 10
		headerTime    = 20 * time.Second
	)
	s := parser()
	for name, h := range longHeaders(size) {
		t.Run(name, func(t *testing.T) {
			r := request(t)
			r.Header[h.name] = h.values
			w := httptest.NewRecorder()
			goroutines, before, start := runtime.NumGoroutine(), kit.TotalAlloc(), time.Now()
			s.ServeHTTP(w, r)
			took, n := time.Since(start), kit.TotalAlloc()-before
			if most := uint64(amplification*size + any); n > most {
				t.Errorf("allocated %d bytes, want at most %d", n, most)
			}
			if n := runtime.NumGoroutine() - goroutines; n > 0 {
				t.Errorf("%d goroutines are left, want none", n)
			}
			if took > headerTime {
				t.Errorf("took %v, want at most %v", took, headerTime)
			}
			if w.Code < 400 {
				t.Errorf("got status %d, want a refusal", w.Code) // a recorder is not hijacked
			}
		})
	}
}

// BenchmarkHeaders shows that parsing is linear: the time for a byte does not grow with the header.
func BenchmarkHeaders(b *testing.B) {
	s := parser()
	for _, size := range []int{16 << 10, 128 << 10, 1 << 20} {
		for name, h := range longHeaders(size) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				r := request(b)
				r.Header[h.name] = h.values
				b.SetBytes(int64(size))
				for b.Loop() {
					s.ServeHTTP(httptest.NewRecorder(), r)
				}
			})
		}
	}
}

// request returns a legal handshake.
func request(t testing.TB) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(kit.Handshake)))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:1"
	return r
}

// TestHeadersAreNotKept sends handshakes with a header as long as net/http accepts, of which a connection uses a word.
func TestHeadersAreNotKept(t *testing.T) {
	const (
		conns    = 10
		heapEach = 100 << 10 // both ends; crypto/tls keeps some 40 KiB of them
		keptTime = 20 * time.Second
	)
	long := strings.Repeat("a", 900<<10)
	for name, line := range map[string]string{
		"subprotocols": "Sec-WebSocket-Protocol: chat, " + long,
		"extensions":   "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9, " + long,
		"origin":       "Origin: http://example.com\r\nCookie: a=" + long,
		"address":      "X-Forwarded-For: " + long,
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				tg := serve(t, kind, hail.Handler{}, hail.Options{Compression: true, Subprotocols: []string{"chat"}, MaxConnsPerIP: 2 * conns})
				goroutines := 2
				if kind != "epoll" {
					goroutines += conns
				}
				bounds{conns * heapEach, goroutines, keptTime}.hold(t, func(look func(func() bool)) {
					clients := tg.crowd(t, conns, func(_ *client, header *string) { *header += line + "\r\n" })
					kit.Until(t, "all are open", func() bool { return tg.server.Len() == conns })
					look(tg.stands)
					runtime.KeepAlive(clients)
				})
			})
		}
	}
}

// TestManyAddresses refuses many addresses whose connections the server counts.
func TestManyAddresses(t *testing.T) {
	const (
		addresses   = 100_000 / scale
		addressHeap = 64 << 10 // nothing is kept of a closed connection
		addressTime = 20 * time.Second
	)
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, MaxConnsPerIP: 1}}
	bounds{addressHeap, 0, addressTime}.hold(t, func(look func(func() bool)) {
		for i := range addresses {
			r := request(t)
			r.RemoteAddr = fmt.Sprintf("[2001:db8:%x:%x::1]:443", i>>16, i&0xFFFF)
			w := httptest.NewRecorder()
			if s.ServeHTTP(w, r); w.Code != http.StatusNotImplemented { // a recorder is not hijacked: the address was accepted
				t.Fatalf("%s: got status %d, want 501", r.RemoteAddr, w.Code)
			}
		}
		look(nil)
	})
	runtime.KeepAlive(s)
}

// TestHeaderFloods sends more headers than net/http accepts: there is no connection, and no memory is kept.
func TestHeaderFloods(t *testing.T) {
	const (
		conns     = 5
		floodHeap = 1 << 20
		floodTime = 20 * time.Second
	)
	for name, line := range map[string]func(i int) string{
		"many headers":      func(i int) string { return fmt.Sprintf("X-%d: x\r\n", i) },
		"one header often":  func(int) string { return "Sec-WebSocket-Extensions: a;b;c\r\n" },
		"one without end":   func(i int) string { return strings.Repeat("x", 100) },
		"lines of nothing":  func(int) string { return "x:\r\n" },
		"origins":           func(int) string { return "Origin: http://example.com\r\n" },
		"transfer encoding": func(int) string { return "Transfer-Encoding: chunked\r\n" },
	} {
		t.Run(name, func(t *testing.T) {
			tg := serve(t, "epoll", hail.Handler{}, hail.Options{})
			var b strings.Builder
			b.WriteString(strings.TrimSuffix(kit.Handshake, "\r\n"))
			for i := 0; b.Len() < 2<<20; i++ {
				b.WriteString(line(i))
			}
			bounds{floodHeap, 2, floodTime}.hold(t, func(look func(func() bool)) {
				for range conns {
					c := dial(t, "epoll", tg.addr)
					go func() { // ends with the connection
						io.WriteString(c.nc, b.String())
						c.tcp.(*net.TCPConn).CloseWrite()
					}()
					if resp, err := http.ReadResponse(c.br, nil); err == nil && resp.StatusCode < 400 {
						t.Errorf("got %s, want a refusal", resp.Status)
					}
					c.reset()
				}
				look(nil)
			})
			runtime.KeepAlive(b) // it was allocated before
			if n := tg.server.Stats().Accepted; n != 0 {
				t.Errorf("%d handshakes were accepted, want none", n)
			}
		})
	}
}
