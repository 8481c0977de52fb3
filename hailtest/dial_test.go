package hailtest_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"github.com/coder/websocket"
)

func TestDial(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		p := hailtest.Dial(t, echo, "/", opts...)
		for _, want := range []hail.Message{
			hail.Text("hi"), hail.Binary([]byte{0, 1, 2}), hail.Text(""), hail.Text(strings.Repeat("long ", 50_000)), hail.Text("hi"),
		} {
			p.Send(want)
			if got := p.Receive(); got.Type != want.Type || string(got.Data) != string(want.Data) {
				t.Errorf("got %d bytes of type %v, want %d of type %v", len(got.Data), got.Type, len(want.Data), want.Type)
			}
		}
		if got, want := p.Close(4000, "done"), (hail.CloseError{Code: 4000, Reason: "done"}); got != want {
			t.Errorf("Close: got %v, want %v", got, want)
		}
	})
}

func TestDialRequest(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 1)
	h := serve(func(r *http.Request, c *websocket.Conn) { requests <- r })
	p := hailtest.Dial(t, h, "/ws?room=a%20b",
		hailtest.Header("Cookie", "session=1"),
		hailtest.Origin("http://example.com"),
		hailtest.Subprotocols("v1", "v2"),
		hailtest.RemoteAddr("127.0.0.9:1234"))
	r := <-requests
	for _, field := range []struct{ name, got, want string }{
		{"URL", r.URL.String(), "/ws?room=a%20b"},
		{"Host", r.Host, "example.com"},
		{"RemoteAddr", r.RemoteAddr, "127.0.0.9:1234"},
		{"Cookie", r.Header.Get("Cookie"), "session=1"},
		{"Origin", r.Header.Get("Origin"), "http://example.com"},
		{"Sec-WebSocket-Protocol", r.Header.Get("Sec-WebSocket-Protocol"), "v1, v2"},
		{"accepted subprotocol", p.Response.Header.Get("Sec-WebSocket-Protocol"), "v2"},
	} {
		if field.got != field.want {
			t.Errorf("%s: got %q, want %q", field.name, field.got, field.want)
		}
	}
}

// counted is a connection that counts the bytes read.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func TestDialWrap(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		var bytes atomic.Int64
		wrap := hailtest.Wrap(func(nc net.Conn) net.Conn { return counted{nc, &bytes} })
		p := hailtest.Dial(t, echo, "/", append(slices.Clone(opts), wrap)...)
		handshake := bytes.Load()
		if handshake == 0 {
			t.Error("the server has read the handshake past what Wrap made")
		}
		p.Send(hail.Text("hi"))
		if got := p.Receive().String(); got != "hi" {
			t.Errorf("got %q, want %q", got, "hi")
		}
		if got := bytes.Load(); got <= handshake {
			t.Errorf("%d bytes were read after the handshake's %d, want more", got, handshake)
		}
	})
}

func TestDialRemoteAddr(t *testing.T) {
	t.Parallel()
	addrs := make(chan string, 2)
	h := serve(func(r *http.Request, c *websocket.Conn) { addrs <- r.RemoteAddr })
	for _, opts := range [][]hailtest.Option{nil, {hailtest.RemoteAddr("127.0.0.2:0")}, {hailtest.RemoteAddr("127.0.0.2:0"), hailtest.TCP()}} {
		hailtest.Dial(t, h, "/", opts...)
		want := "127.0.0.2"
		if opts == nil {
			want = "127.0.0.1"
		}
		if host, port, err := net.SplitHostPort(<-addrs); host != want || port == "0" || err != nil {
			t.Errorf("got address %s, port %s, want %s and a port", host, port, want)
		}
	}
	defer func() {
		if got, want := recover(), "hailtest: RemoteAddr: localhost is not an IP address and a port"; got != want {
			t.Errorf("got panic %v, want %s", got, want)
		}
	}()
	hailtest.RemoteAddr("localhost")
}

func TestDialEarlyData(t *testing.T) {
	t.Parallel()
	hello := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("early")}
	h := hijack("", func(conn net.Conn, br *bufio.Reader) {
		// net/http read it before the handler ran: it came with the handshake.
		fmt.Fprintf(conn, "\x81\x01%d", min(br.Buffered(), 9))
	})
	if got := hailtest.Dial(t, h, "/", hailtest.EarlyData(hello.Bytes())).Receive(); got.String() != "9" {
		t.Errorf("got %s early bytes at the hijack, want 9 or more", got)
	}
	if got := hailtest.Dial(t, echo, "/", hailtest.EarlyData(hello.Bytes())).Receive(); got.String() != "early" {
		t.Errorf("got %q, want %q", got, "early")
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	answer := func(status int, header string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n%s\r\n", status, http.StatusText(status), header)
		})
	}
	for name, test := range map[string]struct {
		h    http.Handler
		opts []hailtest.Option
		want string
	}{
		"refused":               {http.NotFoundHandler(), nil, `got 404 Not Found, want 101 Switching Protocols`},
		"its body":              {http.NotFoundHandler(), nil, `404 page not found`},
		"no answer":             {answer(0, ""), nil, "want 101 Switching Protocols"},
		"no upgrade":            {answer(101, ""), nil, "got Upgrade: , want websocket"},
		"no connection":         {answer(101, "Upgrade: websocket\r\nConnection: close\r\n"), nil, "got Connection: close, want Upgrade"},
		"wrong key":             {answer(101, "Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\nSec-WebSocket-Accept: x\r\n"), nil, "got Sec-WebSocket-Accept: x, want "},
		"subprotocol":           {hijack("Sec-WebSocket-Protocol: c\r\n", nil), []hailtest.Option{hailtest.Subprotocols("a", "b")}, `got subprotocol "c", offered was "a, b"`},
		"extension not offered": {hijack("Sec-WebSocket-Extensions: permessage-deflate\r\n", nil), nil, `accepted the extension "permessage-deflate", offered was ""`},
		"extension unknown":     {hijack("Sec-WebSocket-Extensions: zip\r\n", nil), []hailtest.Option{hailtest.Compression()}, `accepted the extension "zip"`},
		"extension parameter":   {hijack("Sec-WebSocket-Extensions: permessage-deflate; x=1\r\n", nil), []hailtest.Option{hailtest.Compression()}, `" x=1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := failures(func(tb hailtest.TB) {
				hailtest.Dial(tb, test.h, "/", test.opts...)
				t.Error("Dial has returned")
			})
			if len(got) != 1 || !strings.HasPrefix(got[0], "hailtest: Dial /: ") || !strings.Contains(got[0], test.want) {
				t.Errorf("got failures %q, want one with %q", got, test.want)
			}
		})
	}
}

func TestDialTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		got := failures(func(tb hailtest.TB) { hailtest.Dial(tb, h, "/", hailtest.Timeout(time.Minute)) })
		if len(got) != 1 || !strings.Contains(got[0], "timeout") {
			t.Errorf("got failures %q, want one with a timeout", got)
		}
		if got := time.Since(start).Round(time.Second); got != time.Minute {
			t.Errorf("got it after %v, want 1m", got)
		}
	})
}

func TestDialHandlerThatStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, h := range map[string]func(stay <-chan struct{}) http.Handler{
			"hijacked": func(stay <-chan struct{}) http.Handler {
				return serve(func(*http.Request, *websocket.Conn) { <-stay })
			},
			"not hijacked": func(stay <-chan struct{}) http.Handler {
				return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stay })
			},
		} {
			stay := make(chan struct{})
			got := failures(func(tb hailtest.TB) { hailtest.Dial(tb, h(stay), "/") })
			close(stay)
			if want := "the handler has not returned 10s after its connection was closed"; len(got) == 0 || !strings.Contains(got[len(got)-1], want) {
				t.Errorf("%s: got failures %q, want one with %q", name, got, want)
			}
		}
	})
}

func TestDialURL(t *testing.T) {
	t.Parallel()
	plain, secure := httptest.NewServer(echo), httptest.NewTLSServer(echo)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	for url, opts := range map[string][]hailtest.Option{
		"ws" + strings.TrimPrefix(plain.URL, "http") + "/ws?a=b": {hailtest.Compression()},
		"ws" + strings.TrimPrefix(secure.URL, "http"):            {hailtest.TLS(&tls.Config{RootCAs: roots})},
	} {
		p := hailtest.DialURL(t, url, opts...)
		p.Send(hail.Text(url))
		if got := p.Receive(); got.String() != url {
			t.Errorf("got %q, want %q", got, url)
		}
		p.Close(1000, "")
	}
}

func TestDialURLFails(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(echo)
	t.Cleanup(secure.Close)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for url, want := range map[string]string{
		"http://127.0.0.1/":            `"http://127.0.0.1/" is not a ws or wss URL`,
		"%":                            `"%" is not a ws or wss URL`,
		"ws:///path":                   `"ws:///path" is not a ws or wss URL`,
		"ws://" + free.Addr().String(): "connect: ",
	} {
		got := failures(func(tb hailtest.TB) { hailtest.DialURL(tb, url) })
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got failures %q, want one with %q", url, got, want)
		}
	}
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := r.Header["Upgrade"]; !ok {
				w.Header().Set("Retry-After", "3")
				w.Header().Set("Connection", "close")
				http.Error(w, "no "+r.Host, http.StatusTeapot)
				return
			}
			echo.ServeHTTP(w, r)
		})
		if got := hailtest.Handshake(t, h, "/", opts...).StatusCode; got != 101 {
			t.Errorf("got status %d, want 101", got)
		}
		resp := hailtest.Handshake(t, h, "/", append(opts, hailtest.Header("Upgrade", ""), hailtest.Header("host", "here"))...)
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusTeapot || resp.Header.Get("Retry-After") != "3" || resp.Header.Get("Connection") != "close" || string(body) != "no here\n" || err != nil {
			t.Errorf("got %s %v %q, %v", resp.Status, resp.Header, body, err)
		}
	})
}

func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	got := failures(func(tb hailtest.TB) {
		hailtest.Handshake(tb, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "/")
	})
	if want := "hailtest: Handshake /: got unexpected EOF, want a response"; len(got) != 1 || got[0] != want {
		t.Errorf("got failures %q, want %q", got, want)
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.Header["X"])
	})
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGET [1 2]",
		"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n":                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		"GET /abort HTTP/1.1\r\nHost: a\r\n\r\n":            "",
	} {
		if got := hailtest.Exchange(t, h, request); got != want {
			t.Errorf("%q: got %q, want %q", request, got, want)
		}
	}
	if got := hailtest.Exchange(t, h, "GET / HTTP/1.1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("no Host: got %q, want a 400", got)
	}
}

// TestExchangeEndsWithTheResponse has a server send frames after the 101.
func TestExchangeEndsWithTheResponse(t *testing.T) {
	t.Parallel()
	h := hijack("", func(conn net.Conn, br *bufio.Reader) { io.WriteString(conn, "\x81\x02hi") })
	got := hailtest.Exchange(t, h, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("got %q, want a 101 and nothing after it", got)
	}
}

func TestExchangeTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := failures(func(tb hailtest.TB) { hailtest.Exchange(tb, echo, "GET / HT") })
		if want := `hailtest: Exchange: got "" after 10s, want a response`; len(got) != 1 || got[0] != want {
			t.Errorf("got failures %q, want %q", got, want)
		}
	})
}
