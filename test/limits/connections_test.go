package limits_test

// How many connections there may be, in total and from one address.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// checkRefused checks the answer to a request that is over a limit.
func checkRefused(t *testing.T, got *http.Response, status int) {
	t.Helper()
	after, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if got.StatusCode != status || err != nil || after < 1 || got.Header.Get("Connection") != "close" {
		t.Errorf("got %s, Retry-After %q, Connection %q; want %d, some seconds, close",
			got.Status, got.Header.Get("Retry-After"), got.Header.Get("Connection"), status)
	}
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := kit.NewLogbook()
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{MaxConns: 3, Logger: logger}}
		var peers []*hailtest.Peer
		for range 3 {
			peers = append(peers, hailtest.Dial(t, s, "/", opts...))
			kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		}
		for range 2 {
			checkRefused(t, hailtest.Handshake(t, s, "/?token=SECRET", opts...), http.StatusServiceUnavailable)
		}
		if got := s.Stats(); got.Accepted != 3 || got.Refused != 2 {
			t.Errorf("Stats: got %d accepted, %d refused; want 3, 2", got.Accepted, got.Refused)
		}
		if got := strings.Join(log.Level("WARN"), "\n"); strings.Count(got, "Options.MaxConns") != 2 || strings.Contains(got, "SECRET") {
			t.Errorf("log: got %s, want two refusals that name Options.MaxConns, without the query", got)
		}
		peers[1].Close(hail.StatusNormalClosure, "")
		kit.Await(t, "OnClose", e.Closed, kit.Ample)
		awaitSlot(t, s, opts...)
	})
}

// awaitSlot waits until a server lets a connection in: a slot is free a moment after OnClose.
func awaitSlot(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
	t.Helper()
	kit.Until(t, "a free place", func() bool {
		return hailtest.Handshake(t, s, "/", opts...).StatusCode == http.StatusSwitchingProtocols
	})
}

// TestSlotsAreGivenBack has one slot, and uses it up in each way.
func TestSlotsAreGivenBack(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(t *testing.T, s *hail.Server, opts ...hailtest.Option){
		"closed by the peer": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/", opts...).Close(hail.StatusNormalClosure, "")
		},
		"reset": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/", opts...).Reset()
		},
		"OnConnect refused": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/refuse", opts...)
		},
		"OnConnect panicked": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/panic", opts...)
		},
		"OnConnect ended its goroutine": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/goexit", opts...)
		},
		"OnMessage panicked": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/", opts...).Send(hail.Text("panic"))
		},
		"OnClose panicked": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Dial(t, s, "/", opts...).Close(4000, "panic")
		},
		"not a handshake": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			hailtest.Exchange(t, s, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", opts...)
		},
		"cannot be hijacked": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
				"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
			w := httptest.NewRecorder()
			if s.ServeHTTP(w, r); w.Code != http.StatusNotImplemented {
				t.Errorf("got status %d, want 501", w.Code)
			}
		},
		"gone before the answer": func(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
			late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				nc, brw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				nc.Close()
				s.ServeHTTP(&hijacked{w, nc, brw}, r)
			})
			hailtest.Exchange(t, late, "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", opts...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				for range 3 {
					s := &hail.Server{
						Handler: hail.Handler{
							OnConnect: func(_ *hail.Conn, r *http.Request) error {
								switch r.URL.Path {
								case "/refuse":
									return errors.New("refused")
								case "/panic":
									panic("OnConnect")
								case "/goexit":
									runtime.Goexit()
								}
								return nil
							},
							OnMessage: func(*hail.Conn, hail.Message) error { panic("OnMessage") },
							OnClose: func(_ *hail.Conn, info hail.CloseInfo) {
								if info.Reason == "panic" {
									panic("OnClose")
								}
							},
						},
						Options: hail.Options{MaxConns: 1, MaxConnsPerIP: 1, Logger: kit.Quiet},
					}
					use(t, s, opts...)
					awaitSlot(t, s, opts...)
				}
			})
		})
	}
}

// hijacked is a ResponseWriter that gives away a connection that was hijacked before.
type hijacked struct {
	http.ResponseWriter
	nc  net.Conn
	brw *bufio.ReadWriter
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.nc, w.brw, nil }

func TestMaxConnsPerIP(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := kit.NewLogbook()
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{MaxConnsPerIP: 2, Logger: logger}}
		from := func(addr string) []hailtest.Option { return append(slices.Clone(opts), hailtest.RemoteAddr(addr)) }
		first := hailtest.Dial(t, s, "/", from("127.0.0.2:0")...)
		hailtest.Dial(t, s, "/", from("127.0.0.2:0")...)
		checkRefused(t, hailtest.Handshake(t, s, "/?token=SECRET", from("127.0.0.2:0")...), http.StatusTooManyRequests)
		if got := strings.Join(log.Level("WARN"), "\n"); strings.Count(got, "Options.MaxConnsPerIP") != 1 ||
			!strings.Contains(got, "127.0.0.2") || strings.Contains(got, "SECRET") {
			t.Errorf("log: got %s, want a refusal that names the address and Options.MaxConnsPerIP, without the query", got)
		}
		hailtest.Dial(t, s, "/", from("127.0.0.3:0")...) // has slots of its own
		first.Close(hail.StatusNormalClosure, "")
		kit.Await(t, "OnClose", e.Closed, kit.Ample)
		awaitSlot(t, s, from("127.0.0.2:0")...)
	})
}

func TestMaxConnsPerIPCountsNetworksOfIPv6(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, second string
		same          bool
	}{
		"the same address, other port": {"[2001:db8::1]:1", "[2001:db8::1]:2", true},
		"the same /64":                 {"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff:ffff:ffff:ffff]:1", true},
		"the next /64":                 {"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		"link local of two interfaces": {"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		"IPv4":                         {"192.0.2.1:1", "192.0.2.1:2", true},
		"the next IPv4":                {"192.0.2.1:1", "192.0.2.2:1", false},
		"IPv4 in IPv6":                 {"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		"the next IPv4 in IPv6":        {"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		"IPv4 without a port":          {"192.0.2.1", "192.0.2.1:443", true},
		"IPv6 without a port":          {"2001:db8::1", "2001:db8::2", true},
		"IPv6 with or without a port":  {"2001:db8::1", "[2001:db8::2]:443", true},
		"IPv6 in brackets":             {"[2001:db8::1]", "[2001:db8::2]", true},
		"IPv4 in IPv6 without a port":  {"::ffff:192.0.2.1", "192.0.2.1", true},
		"no address, as of a socket":   {"@", "@", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: hail.Options{MaxConnsPerIP: 1, Logger: kit.Quiet}}
			addr := tc.first
			proxied := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = addr // as middleware does behind a proxy
				s.ServeHTTP(w, r)
			})
			hailtest.Dial(t, proxied, "/")
			addr = tc.second
			want := http.StatusSwitchingProtocols
			if tc.same {
				want = http.StatusTooManyRequests
			}
			if got := hailtest.Handshake(t, proxied, "/"); got.StatusCode != want {
				t.Errorf("%s after %s: got %s, want %d", tc.second, tc.first, got.Status, want)
			}
		})
	}
}

func TestMaxConnsIsExactWhenManyCome(t *testing.T) {
	t.Parallel()
	const limit, clients = 7, 40
	h, _ := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{MaxConns: limit, MaxConnsPerIP: limit, Logger: kit.Quiet}}
	// One server for all, so that they meet in the handler.
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.Close() })
	var mu sync.Mutex
	statuses := make(map[int]int)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() { // ends with one request; waited for below
			nc, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { nc.Close() })
			io.WriteString(nc, "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			var status int
			if _, err := fmt.Fscanf(nc, "HTTP/1.1 %d", &status); err != nil {
				t.Errorf("response: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	group.Wait()
	if got := statuses[http.StatusSwitchingProtocols]; got != limit || len(statuses) > 2 {
		t.Errorf("got %v, want %d of %d let in and the others refused", statuses, limit, clients)
	}
}

func TestMaxConnsOff(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]hail.Options{"zero": {}, "negative": {MaxConns: -1, MaxConnsPerIP: -1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: o}
			for range 50 {
				hailtest.Dial(t, s, "/")
			}
		})
	}
}
