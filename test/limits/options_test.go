package limits_test

// Options: subprotocols, compression, options that are off, and invalid options.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestSubprotocols(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		server, offered []string
		want            string
	}{
		"none on either side":             {nil, nil, ""},
		"none is invented":                {[]string{"v2", "v1"}, nil, ""},
		"none is taken over":              {nil, []string{"v1"}, ""},
		"none in common":                  {[]string{"v2"}, []string{"v1", "v3"}, ""},
		"the only one":                    {[]string{"v1"}, []string{"v1"}, "v1"},
		"the client's preference":         {[]string{"v3", "v2", "v1"}, []string{"v4", "v1", "v2"}, "v1"},
		"a part of a name is no name":     {[]string{"v1"}, []string{"v", "v10", "xv1"}, ""},
		"in another case":                 {[]string{"Chat"}, []string{"chat"}, ""},
		"names with all that tokens have": {[]string{"a!#$%&'*+-.^_`|~0"}, []string{"x", "a!#$%&'*+-.^_`|~0"}, "a!#$%&'*+-.^_`|~0"},
	}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{Subprotocols: tc.server}}
				opts := slices.Clone(opts)
				if tc.offered != nil {
					opts = append(opts, hailtest.Subprotocols(tc.offered...))
				}
				p := hailtest.Dial(t, s, "/", opts...)
				values, present := p.Response.Header["Sec-Websocket-Protocol"]
				if got := strings.Join(values, "|"); got != tc.want || present != (tc.want != "") {
					t.Errorf("response: got %q, want %q", values, tc.want)
				}
				if got := kit.Await(t, "OnConnect", e.Conns, kit.Ample).Subprotocol(); got != tc.want {
					t.Errorf("Conn.Subprotocol: got %q, want %q", got, tc.want)
				}
			})
		}
	})
}

func TestCompressionIsNegotiated(t *testing.T) {
	t.Parallel()
	const offer = "permessage-deflate"
	for name, tc := range map[string]struct {
		on    bool
		offer string
		want  bool
	}{
		"off, not offered":                  {false, "", false},
		"off, offered":                      {false, offer, false},
		"on, not offered":                   {true, "", false},
		"on, offered":                       {true, offer, true},
		"on, offered as browsers do":        {true, offer + "; client_max_window_bits", true},
		"on, another extension offered":     {true, "x-webkit-deflate-frame", false},
		"on, a smaller window asked for":    {true, offer + "; server_max_window_bits=10", false},
		"on, the largest window asked for":  {true, offer + "; server_max_window_bits=15", true},
		"on, the second offer is possible":  {true, offer + "; server_max_window_bits=7, " + offer, true},
		"on, an offer nobody understands":   {true, offer + "; unheard_of", false},
		"on, offered without a context":     {true, offer + "; server_no_context_takeover; client_no_context_takeover", true},
		"on, offered beside something else": {true, "x-other, " + offer, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				s := &hail.Server{Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}, Options: hail.Options{Compression: tc.on}}
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.Header("Sec-WebSocket-Extensions", tc.offer))...)
				got := p.Response.Header.Get("Sec-WebSocket-Extensions")
				if strings.HasPrefix(got, offer) != tc.want || (got != "") != tc.want {
					t.Errorf("response: got %q, want compression: %v", got, tc.want)
				}
				if tc.want && !strings.Contains(got, "server_no_context_takeover") {
					t.Errorf("response: got %q, want server_no_context_takeover in it", got)
				}
				want := strings.Repeat("text ", 1000)
				p.Send(hail.Text(want))
				if got := p.Receive().String(); got != want {
					t.Errorf("echo: got %d bytes, want the %d that were sent", len(got), len(want))
				}
			})
		})
	}
}

func TestCompressionOnTheWire(t *testing.T) {
	t.Parallel()
	same := bytes.Repeat([]byte("a"), 1<<20)
	cases := map[string]struct {
		data       []byte
		compressed bool
	}{
		"a message of 1023 bytes":              {same[:1023], false},
		"a message of 1 KiB":                   {same[:1024], true},
		"a long message":                       {same[:300_000], true},
		"an empty message":                     {nil, false},
		"what compression would make longer":   {kit.Noise(5000), false},
		"what it would make longer, very long": {kit.Noise(100_000), false},
	}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		for name, tc := range cases {
			for _, offered := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, offered %v", name, offered), func(t *testing.T) {
					s := &hail.Server{
						Handler: hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
							return errors.Join(c.Send(hail.Binary(tc.data)), c.Send(hail.Binary(tc.data)))
						}},
						Options: hail.Options{Compression: true},
					}
					opts := append(slices.Clone(opts), hailtest.Raw(), hailtest.Header("Sec-WebSocket-Extensions", ""))
					if offered {
						opts = append(opts, hailtest.Compression())
					}
					p := hailtest.Dial(t, s, "/", opts...)
					f, second := p.ReadFrame(), p.ReadFrame()
					if want := tc.compressed && offered; f.RSV1 != want || !f.Fin || f.Opcode != hailtest.OpBinary {
						t.Fatalf("got %v, want one binary frame, with RSV1: %v", f, want)
					}
					got := f.Payload
					if f.RSV1 {
						got = kit.Inflated(t, got)
						if len(f.Payload) >= len(tc.data) {
							t.Errorf("compressed: got %d bytes for %d", len(f.Payload), len(tc.data))
						}
					}
					if !bytes.Equal(got, tc.data) {
						t.Errorf("got %d bytes, want the %d that were sent", len(got), len(tc.data))
					}
					// If the context were kept, the second would refer to the first.
					if !bytes.Equal(f.Payload, second.Payload) {
						t.Errorf("the same message again: got another payload, of %d bytes after %d", len(second.Payload), len(f.Payload))
					}
				})
			}
		}
	})
}

func TestCompressedFrameThatWasNotNegotiated(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	p := hailtest.Dial(t, &hail.Server{Handler: h}, "/", hailtest.Compression()) // offered, but off
	p.Write(kit.Fragments(true, kit.Deflate([]byte("hello"))))
	if got := p.WaitClose(); got.Code != hail.StatusProtocolError {
		t.Errorf("close: got %v, want 1002", got)
	}
	p.CloseWrite()
	kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusProtocolError, hail.CauseProtocol, false)
}

// TestReusedDataMayBeAppendedTo has a callback append to a message that lies before the next one in the read buffer.
func TestReusedDataMayBeAppendedTo(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{Options: hail.Options{ReuseBuffers: true}, Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { return nil },
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				return c.Send(hail.Message{Type: m.Type, Data: append(m.Data, "\x82\x80abcdefgh"...)})
			},
		}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(1<<20))...)
		p.Write(append(kit.Message([]byte("one")), kit.Message([]byte("two"))...))
		for _, want := range []string{"one\x82\x80abcdefgh", "two\x82\x80abcdefgh"} {
			if got := p.Receive(); got.String() != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestEveryOptionCanBeOff(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo},
			Options: hail.Options{
				ReadLimit: -1, SendQueue: -1, MaxConns: -1, MaxConnsPerIP: -1, MessageRate: -1, MessageBurst: -1,
				MessageTimeout: -1, WriteTimeout: -1, PingInterval: -1, PongTimeout: -1, CloseTimeout: -1,
				Logger: kit.Quiet,
			},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		want := kit.Noise(1 << 19)
		for range 3 {
			p.Send(hail.Binary(want))
			if got := p.Receive(); !bytes.Equal(got.Data, want) {
				t.Fatalf("echo: got %d other bytes", len(got.Data))
			}
		}
		if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want 1000", got)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestLateChangesHaveNoEffect(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(t *testing.T, s *hail.Server){
		"after a request": func(t *testing.T, s *hail.Server) {
			hailtest.Dial(t, s, "/").Close(hail.StatusNormalClosure, "")
		},
		"after a refused request": func(t *testing.T, s *hail.Server) {
			hailtest.Exchange(t, s, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{Subprotocols: []string{"v1"}, Origins: []string{"https://app.example"}, Logger: kit.Quiet}}
			first(t, s)
			for len(e.Conns) > 0 {
				<-e.Conns
				kit.Await(t, "OnClose", e.Closed, kit.Ample)
			}
			s.Handler = hail.Handler{
				OnConnect: func(*hail.Conn, *http.Request) error { return errors.New("the late OnConnect") },
				OnMessage: func(*hail.Conn, hail.Message) error { panic("the late OnMessage") },
				OnClose:   func(*hail.Conn, hail.CloseInfo) { t.Error("the late OnClose was called") },
				OnError:   func(_ *hail.Conn, err error) { t.Errorf("the late OnError was called: %v", err) },
			}
			logger, log := kit.NewLogbook()
			s.Options = hail.Options{Subprotocols: []string{"v2"}, Compression: true, ReadLimit: 1, MaxConns: 1, MessageRate: 0.001,
				Origins: []string{"a malformed pattern"}, Logger: logger}
			for range 2 { // more than the late MaxConns
				p := hailtest.Dial(t, s, "/", hailtest.Subprotocols("v2", "v1"), hailtest.Compression(), hailtest.Origin("https://app.example"))
				if got := p.Response.Header; got.Get("Sec-WebSocket-Protocol") != "v1" || got.Get("Sec-WebSocket-Extensions") != "" {
					t.Errorf("response: got %v, want v1 without compression", got)
				}
				kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				for range 3 {
					p.Send(hail.Text("longer than the late limit"))
					kit.Await(t, "OnMessage", e.Msgs, kit.Ample)
				}
			}
			if lines := log.Lines(); len(lines) > 0 {
				t.Errorf("the late Logger got %q", lines)
			}
		})
	}
}

func TestLateChangeOfASubprotocolHasNoEffect(t *testing.T) {
	t.Parallel()
	h, _ := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{Subprotocols: []string{"v1"}}}
	hailtest.Dial(t, s, "/").Close(hail.StatusNormalClosure, "")
	s.Subprotocols[0] = "v2"
	p := hailtest.Dial(t, s, "/", hailtest.Subprotocols("v2", "v1"))
	if got := p.Response.Header.Get("Sec-WebSocket-Protocol"); got != "v1" {
		t.Errorf("got %q, want v1: the options are read once", got)
	}
}

func TestWrongOptionsPanic(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		options hail.Options
	}{
		{"Origins", hail.Options{Origins: []string{""}}},
		{"Origins", hail.Options{Origins: []string{"example.com", " "}}},
		{"Origins", hail.Options{Origins: []string{"example.com/path"}}},
		{"Origins", hail.Options{Origins: []string{"https://example.com/"}}},
		{"Origins", hail.Options{Origins: []string{"https://example.com?query"}}},
		{"Origins", hail.Options{Origins: []string{"https://user@example.com"}}},
		{"Origins", hail.Options{Origins: []string{"https://"}}},
		{"Origins", hail.Options{Origins: []string{"://example.com"}}},
		{"Origins", hail.Options{Origins: []string{"*://example.com"}}},
		{"Origins", hail.Options{Origins: []string{"https://example.com:"}}},
		{"Origins", hail.Options{Origins: []string{"example.com:port"}}},
		{"Origins", hail.Options{Origins: []string{"example.com:80*"}}},
		{"Origins", hail.Options{Origins: []string{"exam[pl]e.com"}}},
		{"Origins", hail.Options{Origins: []string{"exampl?.com"}}},
		{"Origins", hail.Options{Origins: []string{"bücher.example"}}},
		{"Origins", hail.Options{Origins: []string{"::1"}}},
		{"Origins", hail.Options{Origins: []string{"[::1"}}},
		{"Origins", hail.Options{Origins: []string{"[*]"}}},
		{"Origins", hail.Options{Origins: []string{`https:\\example.com`}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{""}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"v1", "two words"}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"v1,v2"}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"v1\r\nX: y"}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{`"v1"`}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"a/b"}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"é"}}},
		{"Subprotocols", hail.Options{Subprotocols: []string{"\x7f"}}},
		{"MessageRate", hail.Options{MessageRate: math.NaN()}},
	} {
		t.Run(fmt.Sprintf("%s %q%q", tc.name, tc.options.Origins, tc.options.Subprotocols), func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: tc.options}
			for use, f := range map[string]func(){
				"ServeHTTP": func() { s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) },
				"Shutdown":  func() { s.Shutdown(context.Background()) },
				"Close":     func() { s.Close() },
			} {
				func() {
					defer func() {
						got, ok := recover().(string)
						if want := "hail: Options." + tc.name; !ok || !strings.HasPrefix(got, want) {
							t.Errorf("%s: got panic %q, want one that begins with %q", use, got, want)
						}
					}()
					f()
				}()
			}
		})
	}
}

// TestLargestTimeouts has durations that overflow if a tick is added to them.
func TestLargestTimeouts(t *testing.T) {
	t.Parallel()
	const ever = time.Duration(math.MaxInt64)
	for name, act := range map[string]func(*hailtest.Peer, *hail.Conn){
		"MessageTimeout": func(p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte("half"))[:8]) },
		"WriteTimeout":   func(p *hailtest.Peer, c *hail.Conn) { p.Stall(); c.Send(hail.Text("not read")) },
		"PongTimeout":    func(p *hailtest.Peer, _ *hail.Conn) { p.Vanish() },
		"CloseTimeout":   func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				o := hail.Options{MessageTimeout: ever, WriteTimeout: ever, PongTimeout: ever, CloseTimeout: ever, PingInterval: time.Minute}
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/", append(opts, hailtest.BufferSize(1), hailtest.Timeout(time.Hour))...)
				act(p, kit.Await(t, "OnConnect", e.Conns, kit.Ample))
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if len(e.Closed) > 0 {
					t.Errorf("closed: %+v", <-e.Closed)
				}
				p.Reset()
			})
		})
	}
}
