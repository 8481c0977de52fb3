package hail_test

// Options: each limit where it is reached and one step past it, over each transport.

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// overBubbles runs a test in a synctest bubble over each transport that can be in one.
func overBubbles(t *testing.T, test func(t *testing.T, opts ...hailtest.Option)) {
	t.Helper()
	for name, opts := range map[string][]hailtest.Option{
		"memory":            nil,
		"memory tls":        {hailtest.TLS(nil)},
		"memory compressed": {hailtest.Compression()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, append(opts, hailtest.Timeout(time.Hour))...) })
		})
	}
}

// events are what a server's callbacks tell a test.
type events struct {
	conns  chan *hail.Conn
	msgs   chan hail.Message
	closed chan hail.CloseInfo
	errs   chan error
}

// observed returns h with what it leaves out told to a test instead.
func observed(h hail.Handler) (hail.Handler, events) {
	const most = 1 << 12
	e := events{make(chan *hail.Conn, most), make(chan hail.Message, most), make(chan hail.CloseInfo, most), make(chan error, most)}
	if h.OnConnect == nil {
		h.OnConnect = func(c *hail.Conn, _ *http.Request) error { e.conns <- c; return nil }
	}
	if h.OnMessage == nil {
		h.OnMessage = func(_ *hail.Conn, m hail.Message) error { e.msgs <- m; return nil }
	}
	if h.OnClose == nil {
		h.OnClose = func(_ *hail.Conn, info hail.CloseInfo) { e.closed <- info }
	}
	if h.OnError == nil {
		h.OnError = func(_ *hail.Conn, err error) { e.errs <- err }
	}
	return h, e
}

// await returns what comes next on ch, and fails the test if that takes longer than d.
func await[T any](t *testing.T, what string, ch <-chan T, d time.Duration) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("%s: got nothing within %v", what, d)
		panic("unreachable")
	}
}

// ample is a time for what happens at once, on however slow a machine.
const ample = 30 * time.Second

// checkDelay says whether something that began at start has happened when a timeout was over:
// never early, and late by two looks of the sweep at most, which has eight in the shortest timeout.
func checkDelay(t *testing.T, what string, start time.Time, timeout time.Duration) {
	t.Helper()
	if took := time.Since(start); took < timeout || took > timeout+min(timeout/4, time.Second)+10*time.Millisecond {
		t.Errorf("%s: took %v, want %v or little more", what, took, timeout)
	}
}

// checkClosed holds a CloseInfo against its code and cause; one that is not clean has an error.
func checkClosed(t *testing.T, got hail.CloseInfo, code hail.StatusCode, cause hail.Cause, clean bool) {
	t.Helper()
	if got.Code != code || got.Cause != cause || (got.Err == nil) != clean {
		t.Errorf("CloseInfo: got %d, %v, error %v; want %d, %v, an error: %v", got.Code, got.Cause, got.Err, code, cause, !clean)
	}
}

// checkNames says whether an error's text names all of the words.
func checkNames(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error: got %v, want it to name %q", err, word)
		}
	}
}

// message returns the bytes of a whole frame.
func message(data []byte) []byte {
	return hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Payload: data}.Bytes()
}

// fragments returns the bytes of a message in frames of the given sizes and a last one.
func fragments(rsv1 bool, data []byte, sizes ...int) []byte {
	var b []byte
	opcode := hailtest.OpBinary
	for _, size := range sizes {
		b = append(b, hailtest.Frame{RSV1: rsv1, Opcode: opcode, Payload: data[:size]}.Bytes()...)
		data, opcode, rsv1 = data[size:], hailtest.OpContinuation, false
	}
	return append(b, hailtest.Frame{Fin: true, RSV1: rsv1, Opcode: opcode, Payload: data}.Bytes()...)
}

const deflateTail = "\x00\x00\xff\xff"

// deflated returns data as the payload of a frame with RSV1.
func deflated(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
}

// inflated reverses deflated.
func inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(deflateTail+"\x01\x00\x00\xff\xff")))
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return data
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(n) + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

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
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				h, e := observed(hail.Handler{})
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
				if got := await(t, "OnConnect", e.conns, ample).Subprotocol(); got != tc.want {
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
		"on, a smaller window asked for":    {true, offer + "; server_max_window_bits=10", true},
		"on, the second offer is possible":  {true, offer + "; server_max_window_bits=7, " + offer, true},
		"on, an offer nobody understands":   {true, offer + "; unheard_of", false},
		"on, offered without a context":     {true, offer + "; server_no_context_takeover; client_no_context_takeover", true},
		"on, offered beside something else": {true, "x-other, " + offer, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				s := &hail.Server{Handler: hail.Handler{OnConnect: accept, OnMessage: hail.Echo}, Options: hail.Options{Compression: tc.on}}
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
		"what compression would make longer":   {noise(5000), false},
		"what it would make longer, very long": {noise(100_000), false},
	}
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
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
						got = inflated(t, got)
						if len(f.Payload) >= len(tc.data) {
							t.Errorf("compressed: got %d bytes for %d", len(f.Payload), len(tc.data))
						}
					}
					if !bytes.Equal(got, tc.data) {
						t.Errorf("got %d bytes, want the %d that were sent", len(got), len(tc.data))
					}
					// With a context taken over the second would refer to the first.
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
	h, e := observed(hail.Handler{})
	p := hailtest.Dial(t, &hail.Server{Handler: h}, "/", hailtest.Compression()) // offered, but off
	p.Write(fragments(true, deflated(t, []byte("hello"))))
	if got := p.WaitClose(); got.Code != hail.StatusProtocolError {
		t.Errorf("close: got %v, want 1002", got)
	}
	p.CloseWrite()
	checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusProtocolError, hail.CauseProtocol, false)
}

// TestReadLimit sends messages that are as long as is allowed, then one that is a byte longer.
func TestReadLimit(t *testing.T) {
	t.Parallel()
	plain := map[string]func(t *testing.T, data []byte) []byte{
		"whole":     func(_ *testing.T, data []byte) []byte { return message(data) },
		"fragments": func(_ *testing.T, data []byte) []byte { return fragments(false, data, len(data)/3, 1, len(data)/4) },
		"fragments with empty ones": func(_ *testing.T, data []byte) []byte {
			return fragments(false, data, 0, len(data)-1, 0, 1, 0)
		},
	}
	compressed := map[string]func(t *testing.T, data []byte) []byte{
		"compressed": func(t *testing.T, data []byte) []byte { return fragments(true, deflated(t, data)) },
		"compressed fragments": func(t *testing.T, data []byte) []byte {
			z := deflated(t, data)
			return fragments(true, z, len(z)/2, 0)
		},
		"compressed noise": func(t *testing.T, data []byte) []byte { return fragments(true, deflated(t, noise(len(data)))) },
	}
	for _, tc := range []struct {
		option int64
		limit  int
	}{{0, 65536}, {10, 10}, {300_000, 300_000}} {
		test := func(t *testing.T, shape func(*testing.T, []byte) []byte, opts ...hailtest.Option) {
			h, e := observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
				return c.Send(hail.Text(strconv.Itoa(len(m.Data))))
			}})
			s := &hail.Server{Handler: h, Options: hail.Options{ReadLimit: tc.option, Compression: true}}
			p := hailtest.Dial(t, s, "/", opts...)
			for range 2 {
				p.Write(shape(t, make([]byte, tc.limit)))
				if got, want := p.Receive().String(), strconv.Itoa(tc.limit); got != want {
					t.Errorf("received: got %s bytes, want %s", got, want)
				}
			}
			p.Write(shape(t, make([]byte, tc.limit+1)))
			if got := p.WaitClose(); got.Code != hail.StatusMessageTooBig {
				t.Errorf("close: got %v, want 1009", got)
			}
			checkNames(t, await(t, "OnError", e.errs, ample), strconv.Itoa(tc.limit), "Options.ReadLimit")
			info := await(t, "OnClose", e.closed, ample)
			checkClosed(t, info, hail.StatusMessageTooBig, hail.CauseReadLimit, false)
			checkNames(t, info.Err, strconv.Itoa(tc.limit), "Options.ReadLimit")
			if n := p.Pending(); n != 0 {
				t.Errorf("%d answers to the message that is too long", n)
			}
		}
		t.Run(fmt.Sprint(tc.limit), func(t *testing.T) {
			t.Parallel()
			for name, shape := range plain {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					overTransports(t, func(t *testing.T, opts ...hailtest.Option) { test(t, shape, opts...) })
				})
			}
			for name, shape := range compressed {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
						test(t, shape, append(slices.Clone(opts), hailtest.Compression())...)
					})
				})
			}
		})
	}
}

// TestReadLimitByTheHeaderAlone has peers claim lengths and send nothing more.
func TestReadLimitByTheHeaderAlone(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"65537 bytes":           hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Length: 65537}.Bytes(),
		"2^32 bytes":            hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Length: 1 << 32}.Bytes(),
		"2^62 bytes":            hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: 1 << 62}.Bytes(),
		"2^63-1 bytes":          hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: math.MaxInt64}.Bytes(),
		"2^62 bytes in a part":  hailtest.Frame{Opcode: hailtest.OpBinary, Length: 1 << 62}.Bytes(),
		"2^62 bytes behind one": slices.Concat(fragments(false, []byte("x"), 1)[:7], hailtest.Frame{Opcode: hailtest.OpContinuation, Length: 1 << 62}.Bytes()),
		"2^63-1 bytes behind 65536": slices.Concat(
			hailtest.Frame{Opcode: hailtest.OpBinary, Payload: make([]byte, 65536)}.Bytes(),
			hailtest.Frame{Opcode: hailtest.OpContinuation, Length: math.MaxInt64}.Bytes()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				// The peer's close frame is lost in the payload that it has claimed.
				s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 100 * time.Millisecond}}
				p := hailtest.Dial(t, s, "/", opts...)
				p.Write(b)
				if got := p.WaitClose(); got.Code != hail.StatusMessageTooBig {
					t.Errorf("close: got %v, want 1009", got)
				}
				checkNames(t, await(t, "OnError", e.errs, ample), "65536", "Options.ReadLimit")
				checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusMessageTooBig, hail.CauseReadLimit, false)
			})
		})
	}
}

func TestReadLimitLeavesHeartbeatsAlone(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, _ := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{ReadLimit: 10}}
		p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.Raw())...)
		want := strings.Repeat("p", 125)
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte(want)}.Bytes())
		if got := p.ReadFrame(); got.Opcode != hailtest.OpPong || string(got.Payload) != want {
			t.Errorf("got %v, want a pong with the ping's payload", got)
		}
	})
}

func TestReadLimitOff(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{ReadLimit: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		want := noise(1 << 20)
		p.Send(hail.Binary(want))
		p.Write(fragments(false, want, 300_000, 100_000))
		for range 2 {
			if got := await(t, "OnMessage", e.msgs, ample); !bytes.Equal(got.Data, want) {
				t.Errorf("got %d bytes, want the %d that were sent", len(got.Data), len(want))
			}
		}
	})
}

// TestReadLimitTakesNoMemory is not parallel: it looks at what the whole process allocates.
func TestReadLimitTakesNoMemory(t *testing.T) {
	const conns = 100
	claim := hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: 16 << 30}.Bytes()
	part := hailtest.Frame{Opcode: hailtest.OpBinary, Length: 16 << 30}.Bytes()
	bomb := fragments(true, deflated(t, make([]byte, 16<<20)))
	for name, tc := range map[string]struct {
		options hail.Options
		send    []byte
		refused bool
	}{
		"claims of 16 GiB are refused":                    {hail.Options{}, claim, true},
		"claims of 16 GiB in a part are refused":          {hail.Options{}, part, true},
		"claims of 16 GiB within the limit":               {hail.Options{ReadLimit: 32 << 30}, append(claim, 1, 2, 3), false},
		"claims of 16 GiB in a part within the limit":     {hail.Options{ReadLimit: 32 << 30}, append(part, 1, 2, 3), false},
		"claims of 16 GiB without a limit":                {hail.Options{ReadLimit: -1}, append(claim, 1, 2, 3), false},
		"claims of 16 GiB without a limit, with reuse":    {hail.Options{ReadLimit: -1, ReuseBuffers: true}, append(claim, 1, 2, 3), false},
		"16 MiB behind a short frame":                     {hail.Options{Compression: true}, bomb, true},
		"16 MiB behind a short frame, buffers are reused": {hail.Options{Compression: true, ReuseBuffers: true}, bomb, true},
	} {
		t.Run(name, func(t *testing.T) {
			h, e := observed(hail.Handler{})
			tc.options.CloseTimeout = 10 * time.Millisecond
			s := &hail.Server{Handler: h, Options: tc.options}
			peers := make([]*hailtest.Peer, conns)
			for i := range peers {
				peers[i] = hailtest.Dial(t, s, "/", hailtest.Compression())
			}
			before := totalAlloc()
			for _, p := range peers {
				p.Write(tc.send)
			}
			if tc.refused {
				for range peers {
					checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusMessageTooBig, hail.CauseReadLimit, false)
				}
			} else {
				waitFor(t, func() bool { return s.Stats().BytesIn == uint64(conns*len(tc.send)) })
			}
			if each, most := (totalAlloc()-before)/conns, uint64(1<<20); each > most {
				t.Errorf("allocated %d bytes a connection, want at most %d", each, most)
			}
		})
	}
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestMessageTimeout(t *testing.T) {
	t.Parallel()
	whole := message([]byte(strings.Repeat("slow ", 20)))
	split := fragments(false, []byte("one two three four five"), 4, 4, 6)
	const ever = 24 * time.Hour
	for name, tc := range map[string]struct {
		b      []byte        // is sent in pieces
		piece  int           // of this many bytes
		each   time.Duration // so often
		inTime bool
		pings  bool // the peer sends heartbeats between the pieces
	}{
		"a frame that trickles":            {whole, 1, time.Second, false, false},
		"a frame that stops":               {whole, len(whole) - 1, ever, false, false},
		"a frame in time":                  {whole, 11, 3 * time.Second, true, false},
		"a header that stops":              {whole, 1, ever, false, false},
		"fragments that trickle":           {split, 1, time.Second, false, false},
		"fragments that stop":              {split, 10, ever, false, false},
		"fragments that stop in a header":  {split, 11, ever, false, false},
		"fragments that stop in a payload": {split, 18, ever, false, false},
		"fragments in time":                {split, 5, 2 * time.Second, true, false},
		"fragments between heartbeats":     {split, 10, 28 * time.Second, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				// Who is in the middle of a frame cannot answer a ping.
				s := &hail.Server{Handler: h, Options: noPings(hail.Options{})}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				time.Sleep(time.Minute) // an idle connection has no message that could be late
				start := time.Now()
				stop := make(chan struct{})
				var sender sync.WaitGroup
				defer sender.Wait()
				defer close(stop)
				sender.Go(func() { // ends with the bytes or when stop is closed; waited for above
					for b := tc.b; len(b) > 0; {
						n := min(len(b), tc.piece)
						p.Write(b[:n])
						b = b[n:]
						if tc.pings {
							p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes())
						}
						select {
						case <-stop:
							return
						case <-time.After(tc.each):
						}
					}
				})
				if tc.inTime {
					await(t, "OnMessage", e.msgs, 30*time.Second)
					return
				}
				f := p.ReadFrame()
				for f.Opcode == hailtest.OpPong {
					f = p.ReadFrame()
				}
				if got := f.CloseError(); got.Code != hail.StatusPolicyViolation || got.Reason != "message timeout" {
					t.Errorf("got %v, want a close frame with 1008, message timeout", f)
				}
				checkDelay(t, "close frame", start, 30*time.Second)
				p.CloseWrite()
				checkNames(t, await(t, "OnError", e.errs, ample), "Options.MessageTimeout")
				checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusPolicyViolation, hail.CauseMessageTimeout, false)
			})
		})
	}
}

func TestMessageTimeoutIsForOneMessage(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", opts...)
		for i := range 10 {
			b := message([]byte("a message"))
			if i%2 == 1 {
				b = fragments(false, []byte("a message"), 3)
			}
			p.Write(b[:8])
			time.Sleep(25 * time.Second)
			p.Write(b[8:])
			await(t, "OnMessage", e.msgs, time.Second)
		}
		if len(e.closed) > 0 {
			t.Errorf("closed: %+v", <-e.closed)
		}
	})
}

func TestMessageTimeoutDoesNotRunWhileACallbackDoes(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		msgs := make(chan string, 4)
		h, e := observed(hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
			if m.String() == "first" {
				time.Sleep(5 * time.Minute)
			}
			msgs <- m.String()
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", opts...)
		second := message([]byte("second"))
		third := fragments(false, []byte("third"), 2, 1)
		p.Write(slices.Concat(message([]byte("first")), second[:9]))
		if got := await(t, "OnMessage", msgs, time.Hour); got != "first" {
			t.Fatalf("got %q, want first", got)
		}
		time.Sleep(29 * time.Second)
		p.Write(slices.Concat(second[9:], third[:9]))
		time.Sleep(29 * time.Second)
		p.Write(third[9:])
		for _, want := range []string{"second", "third"} {
			if got := await(t, "OnMessage", msgs, time.Second); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if len(e.closed) > 0 {
			t.Errorf("closed: %+v", <-e.closed)
		}
	})
}

// TestMessageTimeoutIsNotThatOfTheMessageBefore has a header in two parts start the clock of its message,
// which has to stop with that message, also where the next has begun.
func TestMessageTimeoutIsNotThatOfTheMessageBefore(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		msgs := make(chan string, 4)
		h, e := observed(hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
			if m.String() == "first" {
				time.Sleep(time.Minute)
			}
			msgs <- m.String()
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", opts...)
		first, second := message([]byte("first")), message([]byte("second"))
		p.WriteSplit(slices.Concat(first, second[:1]), 1, len(first))
		if got := await(t, "OnMessage", msgs, time.Hour); got != "first" {
			t.Fatalf("got %q, want first", got)
		}
		time.Sleep(2 * time.Second)
		p.Write(second[1:])
		select {
		case got := <-msgs:
			if got != "second" {
				t.Errorf("got %q, want second", got)
			}
		case info := <-e.closed:
			t.Errorf("closed: %+v, want the second message, of which the first byte was read 2 s before the last", info)
		}
	})
}

func TestMessageTimeoutOff(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: noPings(hail.Options{MessageTimeout: -1})}
		p := hailtest.Dial(t, s, "/", opts...)
		for _, b := range [][]byte{message([]byte("a message")), fragments(false, []byte("a message"), 3)} {
			p.Write(b[:9])
			time.Sleep(3 * time.Hour)
			p.Write(b[9:])
			await(t, "OnMessage", e.msgs, time.Second)
		}
	})
}

// noPings are options for peers that cannot answer.
func noPings(o hail.Options) hail.Options {
	o.PingInterval = -1
	o.Compression = true
	return o
}

// narrow makes a transport of so few bytes that all that is queued is in the queue.
func narrow(opts []hailtest.Option) []hailtest.Option {
	return append(slices.Clone(opts), hailtest.BufferSize(1))
}

func TestSendQueueHoldsWhatFitsExactly(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: noPings(hail.Options{SendQueue: 10_000, WriteTimeout: -1})}
		p := hailtest.Dial(t, s, "/", narrow(opts)...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Stall()
		const header = 4
		data := noise(10_000)
		for i := range 3 {
			if err := c.TrySend(hail.Binary(data[:2500-header])); err != nil {
				t.Errorf("message %d: got %v, want room", i, err)
			}
		}
		if err := c.TrySend(hail.Binary(data[:2501-header])); !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("a byte too many: got %v, want ErrQueueFull", err)
		}
		if err := c.TrySend(hail.Binary(data[:2500-header])); err != nil {
			t.Errorf("what fills the queue: got %v, want room", err)
		}
		err := c.TrySend(hail.Binary(nil))
		if !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("an empty message into a full queue: got %v, want ErrQueueFull", err)
		}
		checkNames(t, err, "10000", "Options.SendQueue")
		p.Resume()
		for range 4 {
			if got := len(p.Receive().Data); got != 2500-header {
				t.Errorf("received: got %d bytes, want %d", got, 2500-header)
			}
		}
		if err := c.TrySend(hail.Binary(data[:10_000-header])); err != nil {
			t.Errorf("a message as large as the queue: got %v, want room", err)
		}
		if got := len(p.Receive().Data); got != 10_000-header {
			t.Errorf("received: got %d bytes, want %d", got, 10_000-header)
		}
	})
}

func TestMessageLargerThanTheSendQueue(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 10_000, Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		c := await(t, "OnConnect", e.conns, ample)
		start := time.Now()
		for name, send := range map[string]func(hail.Message) error{"Send": c.Send, "TrySend": c.TrySend} {
			err := send(hail.Binary(noise(9_997)))
			if !errors.Is(err, hail.ErrQueueFull) {
				t.Errorf("%s: got %v, want ErrQueueFull", name, err)
			}
			checkNames(t, err, "larger than 10000 bytes", "Options.SendQueue")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v: room was waited for that there will never be", took)
		}
		if err := c.Send(hail.Text("small")); err != nil {
			t.Errorf("Send: %v", err)
		}
		if got := p.Receive().String(); got != "small" {
			t.Errorf("got %q, want that the connection goes on", got)
		}
	})
}

// fill queues m until there is no more room in a bubble's transport and queue, and returns how often.
func fill(t *testing.T, c *hail.Conn, m hail.Message) int {
	t.Helper()
	for n, full := 0, false; ; {
		switch err := c.TrySend(m); {
		case err == nil && n < 1<<20:
			n, full = n+1, false
		case !errors.Is(err, hail.ErrQueueFull):
			t.Fatalf("TrySend %d: got %v, want ErrQueueFull at some time", n, err)
		case full:
			return n
		default:
			synctest.Wait() // the transport takes some
			full = true
		}
	}
}

func TestSendWaitsForRoom(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", opts...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Stall()
		synctest.Wait()
		start := time.Now()
		m := hail.Binary(noise(1000))
		n := fill(t, c, m)
		if least := 1 << 20 / 1004; n < least {
			t.Errorf("queued %d messages, want %d at least", n, least)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("TrySend took %v, want that it does not wait", took)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() { // ends with Send; waited for below
			if err := c.Send(m); err != nil {
				t.Errorf("Send: got %v, want room", err)
			}
			if took := time.Since(start); took != 9*time.Second {
				t.Errorf("Send took %v, want the 9 s until the peer read on", took)
			}
		})
		time.Sleep(9 * time.Second)
		p.Resume()
		waiting.Wait()
		for range n + 1 {
			if got := p.Receive(); !bytes.Equal(got.Data, m.Data) {
				t.Errorf("received: got %d other bytes", len(got.Data))
			}
		}
	})
}

func TestSendGivesUpAfterWriteTimeout(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", opts...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Stall()
		synctest.Wait()
		start := time.Now()
		m := hail.Binary(noise(1000))
		fill(t, c, m)
		err := c.Send(m)
		if !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("Send: got %v, want ErrQueueFull", err)
		}
		checkNames(t, err, "1048576", "Options.SendQueue")
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Send took %v, want WriteTimeout", took)
		}
		info := await(t, "OnClose", e.closed, time.Hour)
		checkDelay(t, "OnClose", start, 10*time.Second)
		checkClosed(t, info, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
		checkNames(t, info.Err, "Options.WriteTimeout", "queued messages were not written")
		if err := c.Send(hail.Text("too late")); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("Send: got %v, want ErrConnClosed", err)
		}
		if len(e.errs) > 0 {
			t.Errorf("OnError: got %v, want nothing: a lost peer is no error", <-e.errs)
		}
	})
}

// TestQueueOfAnotherConnectionIsFull has a callback return the error of a Send to a peer that takes nothing. Its own peer reads, but
// more slowly than it is sent to.
func TestQueueOfAnotherConnectionIsFull(t *testing.T) {
	t.Parallel()
	for name, opts := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const writeTimeout = 500 * time.Millisecond
			var stuck *hail.Conn
			message := hail.Binary(make([]byte, 30_000))
			failed := make(chan error, 1)
			h, e := observed(hail.Handler{
				OnMessage: func(c *hail.Conn, m hail.Message) error {
					for stuck.TrySend(message) == nil {
					}
					time.Sleep(writeTimeout / 8) // it takes nothing from before the wait on
					for {
						if err := stuck.Send(message); err != nil {
							return err
						}
					}
				},
				OnError: func(_ *hail.Conn, err error) { failed <- err },
			})
			s := &hail.Server{Handler: h, Options: hail.Options{WriteTimeout: writeTimeout, SendQueue: 2 << 20}}
			p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
			c := await(t, "OnConnect", e.conns, ample)
			other := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
			stuck = await(t, "OnConnect", e.conns, ample)
			other.Stall()
			p.ReadSlowly(16<<10, 10*time.Millisecond)
			p.Send(hail.Text("go"))
			for range 60 {
				if err := c.Send(message); err != nil {
					t.Fatalf("Send: %v", err)
				}
			}
			if err := await(t, "OnError", failed, ample); !errors.Is(err, hail.ErrQueueFull) && !errors.Is(err, hail.ErrConnClosed) {
				t.Errorf("OnError: got %v, want the error of the Send", err)
			}
			p.Resume()
			causes := make(map[hail.Cause]int)
			for range 2 {
				causes[await(t, "OnClose", e.closed, ample).Cause]++
			}
			if causes[hail.CauseCallback] != 1 || causes[hail.CauseWriteTimeout] != 1 {
				t.Errorf("got causes %v, want the callback's error, and the write timeout of the other", causes)
			}
		})
	}
}

func TestSendThatWaitsEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hailtest.Peer, *hail.Conn, *hail.Server){
		"Conn.Close":   func(_ *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(hail.StatusNormalClosure, "") },
		"RST":          func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Reset() },
		"Server.Close": func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: noPings(hail.Options{})}
				p := hailtest.Dial(t, s, "/", opts...)
				c := await(t, "OnConnect", e.conns, ample)
				p.Stall()
				m := hail.Binary(noise(1000))
				fill(t, c, m)
				result := make(chan error, 1)
				go func() { result <- c.Send(m) }() // ends with Send; its result is waited for
				synctest.Wait()
				start := time.Now()
				end(p, c, s)
				if err := await(t, "Send", result, ample); !errors.Is(err, hail.ErrConnClosed) {
					t.Errorf("Send: got %v, want ErrConnClosed", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("Send ended after %v, want at once", took)
				}
			})
		})
	}
}

func TestRepliesToABatchMayBeMoreThanTheSendQueue(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hail.Handler{OnConnect: accept, OnMessage: hail.Echo},
			Options: hail.Options{SendQueue: 3000},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		const n = 200
		want := noise(900)
		p.Write(bytes.Repeat(message(want), n))
		for i := range n {
			if got := p.Receive(); !bytes.Equal(got.Data, want) {
				t.Fatalf("echo %d: got %d other bytes", i, len(got.Data))
			}
		}
	})
}

func TestSendQueueOff(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: noPings(hail.Options{SendQueue: -1})}
		p := hailtest.Dial(t, s, "/", opts...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Stall()
		const n = 50
		m := hail.Binary(noise(100_000))
		for i := range n {
			if err := c.TrySend(m); err != nil {
				t.Fatalf("message %d: got %v, want room", i, err)
			}
		}
		p.Resume()
		for i := range n {
			if got := p.Receive(); !bytes.Equal(got.Data, m.Data) {
				t.Fatalf("message %d: got %d other bytes", i, len(got.Data))
			}
		}
	})
}

func TestWriteTimeoutCutsAPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		option, timeout time.Duration
	}{
		"default": {0, 10 * time.Second},
		"shorter": {time.Second, time.Second},
		"longer":  {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: noPings(hail.Options{WriteTimeout: tc.option})}
				p := hailtest.Dial(t, s, "/", narrow(opts)...)
				c := await(t, "OnConnect", e.conns, ample)
				time.Sleep(2 * tc.timeout) // without anything to write nothing is late
				p.Stall()
				synctest.Wait()
				start := time.Now()
				if err := c.Send(hail.Text("not read")); err != nil {
					t.Fatalf("Send: %v", err)
				}
				info := await(t, "OnClose", e.closed, time.Hour)
				checkDelay(t, "OnClose", start, tc.timeout)
				checkClosed(t, info, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
				checkNames(t, info.Err, "Options.WriteTimeout")
				if got, want := s.Stats().Undelivered, uint64(1); got != want {
					t.Errorf("Stats.Undelivered: got %d, want %d", got, want)
				}
			})
		})
	}
}

func TestWriteTimeoutLeavesAPeerAloneThatIsOnlySlow(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: noPings(hail.Options{})}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := await(t, "OnConnect", e.conns, ample)
		want := noise(200_000)
		p.ReadSlowly(1<<10, 250*time.Millisecond) // 4 KiB a second: 49 seconds
		start := time.Now()
		if err := c.Send(hail.Binary(want)); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if got := p.Receive(); !bytes.Equal(got.Data, want) {
			t.Errorf("received: got %d other bytes", len(got.Data))
		}
		if took := time.Since(start); took < 40*time.Second {
			t.Errorf("took %v: the peer was not slow", took)
		}
		// Nor one that takes nothing for a time that is shorter.
		p.Stall()
		for range 5 {
			if err := c.Send(hail.Binary(want[:20_000])); err != nil {
				t.Fatalf("Send: %v", err)
			}
			time.Sleep(9900 * time.Millisecond)
			p.Resume()
			p.Receive()
			p.Stall()
		}
		if len(e.closed) > 0 {
			t.Errorf("closed: %+v", <-e.closed)
		}
	})
}

// TestWriteTimeoutLeavesAVerySlowPeerAlone has one that would take longer than WriteTimeout for a TLS record.
func TestWriteTimeoutLeavesAVerySlowPeerAlone(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := await(t, "OnConnect", e.conns, ample)
		p.ReadSlowly(1<<10, time.Second)
		if err := c.Send(hail.Binary(noise(50_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.Pending() != 1 {
			t.Errorf("the message has not arrived; closed: %+v", <-e.closed)
		}
	})
}

// TestWriteTimeoutLeavesASlowPeerAloneOverTCP has a socket that the system does not call writable again within WriteTimeout.
func TestWriteTimeoutLeavesASlowPeerAloneOverTCP(t *testing.T) {
	t.Parallel()
	const n, before = 40, 5
	h, e := observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: noPings(hail.Options{WriteTimeout: time.Second, SendQueue: -1})}
	p := hailtest.Dial(t, s, "/", hailtest.TCP(), hailtest.BufferSize(1<<20), hailtest.Timeout(ample))
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10) // so that the system tells of the peer's progress soon
	c := await(t, "OnConnect", e.conns, ample)
	p.ReadSlowly(4<<10, 50*time.Millisecond) // 80 KiB a second: half of what the system holds takes 1.6 s
	data := noise(64 << 10)
	for range n {
		if err := c.TrySend(hail.Binary(data)); err != nil {
			t.Fatalf("TrySend: %v", err)
		}
	}
	for i := range n {
		if i == before { // after about 4 s
			p.Resume()
		}
		p.Receive()
	}
	if len(e.closed) > 0 {
		t.Errorf("closed: %+v", <-e.closed)
	}
}

func TestWriteTimeoutOff(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: noPings(hail.Options{WriteTimeout: -1, SendQueue: 20_000})}
		p := hailtest.Dial(t, s, "/", narrow(opts)...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Stall()
		m := hail.Binary(noise(1000))
		n := fill(t, c, m)
		result := make(chan error, 1)
		go func() { result <- c.Send(m) }() // ends with Send; its result is waited for
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(result) > 0 || len(e.closed) > 0 {
			t.Fatalf("after hours: %d results of Send, %d closes, want none", len(result), len(e.closed))
		}
		p.Resume()
		for range n + 1 {
			p.Receive()
		}
		if err := await(t, "Send", result, ample); err != nil {
			t.Errorf("Send: got %v, want nil", err)
		}
	})
}

func TestPingComesOnlyAfterSilence(t *testing.T) {
	t.Parallel()
	const interval, early, late = 25 * time.Second, 20 * time.Second, 26 * time.Second
	text := message([]byte("text"))
	for name, life := range map[string][]byte{
		"a message": text,
		"a ping":    hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes(),
		"a pong":    hailtest.Frame{Fin: true, Opcode: hailtest.OpPong, Payload: []byte("unasked")}.Bytes(),
		"a byte":    text[:1],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{MessageTimeout: -1, Compression: true}}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				await(t, "OnConnect", e.conns, ample)
				frames := make(chan hailtest.Frame, 16)
				next := func() { frames <- p.ReadFrame() } // one frame; await waits for it
				go next()
				life, rest := life, text[1:]
				for range 10 { // three minutes without a silence
					time.Sleep(19 * time.Second)
					p.Write(life)
					if name == "a byte" {
						life, rest = rest, life // of a message
					}
					synctest.Wait()
					for len(frames) > 0 {
						if f := <-frames; f.Opcode != hailtest.OpPong {
							t.Errorf("got %v, want no ping while there is life", f)
						}
						go next()
						synctest.Wait()
					}
				}
				start := time.Now()
				if f := await(t, "a ping", frames, time.Hour); f.Opcode != hailtest.OpPing {
					t.Errorf("got %v, want a ping", f)
				}
				if took := time.Since(start); took < early || took > late {
					t.Errorf("ping after %v, want it %v after the last life, less a fifth at most", took, interval)
				}
				// Not only a pong answers it.
				time.Sleep(9 * time.Second)
				p.Write(text)
				go next()
				start = time.Now()
				if f := await(t, "a ping", frames, time.Hour); f.Opcode != hailtest.OpPing {
					t.Errorf("got %v, want a ping", f)
				}
				if took := time.Since(start); took < early || took > late {
					t.Errorf("next ping after %v, want it %v after the last life, less a fifth at most", took, interval)
				}
				if len(e.closed) > 0 {
					t.Errorf("closed: %+v", <-e.closed)
				}
			})
		})
	}
}

func TestPingTimeoutCutsASilentPeer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options        hail.Options
		interval, pong time.Duration
	}{
		"default": {hail.Options{}, 25 * time.Second, 10 * time.Second},
		"shorter": {hail.Options{PingInterval: 4 * time.Second, PongTimeout: 2 * time.Second}, 4 * time.Second, 2 * time.Second},
		"longer":  {hail.Options{PingInterval: time.Hour, PongTimeout: 2 * time.Hour}, time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				o := tc.options
				o.Compression = true
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/", opts...)
				p.Send(hail.Text("the last word"))
				await(t, "OnMessage", e.msgs, ample)
				start := time.Now()
				p.Vanish()
				info := await(t, "OnClose", e.closed, 24*time.Hour)
				took := time.Since(start)
				if least, most := tc.interval*4/5+tc.pong, tc.interval+tc.pong+2*time.Second; took < least || took > most {
					t.Errorf("OnClose after %v, want between %v and %v", took, least, most)
				}
				checkClosed(t, info, hail.StatusAbnormalClosure, hail.CausePingTimeout, false)
				checkNames(t, info.Err, "Options.PongTimeout")
				if len(e.errs) > 0 {
					t.Errorf("OnError: got %v, want nothing: a lost peer is no error", <-e.errs)
				}
			})
		})
	}
}

func TestPingTimeoutLeavesAnIdlePeerAlone(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		time.Sleep(3 * time.Hour) // the peer answers pings
		p.Send(hail.Text("still here"))
		if got := await(t, "OnMessage", e.msgs, time.Second).String(); got != "still here" {
			t.Errorf("got %q", got)
		}
	})
}

// lateConn keeps who asks for its socket waiting.
type lateConn struct {
	net.Conn
	asked func()
}

func (c lateConn) SyscallConn() (syscall.RawConn, error) {
	c.asked()
	return nil, errors.ErrUnsupported
}

// lateSweep connects a peer at which s's sweep, when it has pinged it, stays for so long, once. When it does, late is closed.
func lateSweep(t *testing.T, s *hail.Server, stays time.Duration) (late chan struct{}) {
	t.Helper()
	late = make(chan struct{})
	var asked atomic.Int32
	hailtest.Dial(t, s, "/", hailtest.Timeout(time.Hour), hailtest.Wrap(func(nc net.Conn) net.Conn {
		return lateConn{nc, func() {
			if asked.Add(1) == 2 { // the first is not the sweep: a connection is set up
				close(late)
				time.Sleep(stays)
			}
		}}
	}))
	return late
}

// TestTimeoutsAreNotEarlyWhenTheSweepIsLate has a sweep that takes a minute, at the end of which each timeout begins to count.
func TestTimeoutsAreNotEarlyWhenTheSweepIsLate(t *testing.T) {
	t.Parallel()
	const limit, sweepIsLate = time.Second, time.Minute
	options := hail.Options{MessageTimeout: limit, WriteTimeout: limit, CloseTimeout: limit, SendQueue: 100_000}
	for name, tc := range map[string]struct {
		act   func(*hailtest.Peer, *hail.Conn)
		cause hail.Cause
		least time.Duration
	}{
		"MessageTimeout, CloseTimeout": {func(p *hailtest.Peer, _ *hail.Conn) { p.Write(message([]byte("half"))[:8]) },
			hail.CauseMessageTimeout, 2 * limit},
		"CloseTimeout": {func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
			hail.CauseClosed, limit},
		"WriteTimeout": {func(p *hailtest.Peer, c *hail.Conn) {
			p.Stall()
			for c.TrySend(hail.Binary(noise(10_000))) == nil {
			}
		}, hail.CauseWriteTimeout, limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: options}
				late := lateSweep(t, s, sweepIsLate)
				<-e.conns
				p := hailtest.Dial(t, s, "/", hailtest.Timeout(time.Hour))
				c := <-e.conns
				<-late
				time.Sleep(sweepIsLate - limit/10)
				start := time.Now()
				tc.act(p, c)
				info := <-e.closed
				if took := time.Since(start); took < tc.least || took > tc.least+limit {
					t.Errorf("OnClose after %v, want between %v and %v", took, tc.least, tc.least+limit)
				}
				if info.Cause != tc.cause {
					t.Errorf("got %+v, want the cause %v", info, tc.cause)
				}
			})
		})
	}
}

// TestSendGivesUpWhenTheSweepIsLate has Send wait for WriteTimeout in vain, half of that behind a sweep that comes late: whoever
// notices, the cause is the same.
func TestSendGivesUpWhenTheSweepIsLate(t *testing.T) {
	t.Parallel()
	const limit, sweepIsLate = time.Second, time.Minute
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			for {
				if err := c.Send(hail.Binary(noise(10_000))); err != nil {
					return err
				}
			}
		}})
		s := &hail.Server{Handler: h, Options: hail.Options{WriteTimeout: limit, SendQueue: 100_000}}
		late := lateSweep(t, s, sweepIsLate)
		<-e.conns
		p := hailtest.Dial(t, s, "/", opts...)
		<-e.conns
		<-late
		time.Sleep(sweepIsLate - limit/2)
		p.Stall()
		p.Send(hail.Text("go"))
		checkClosed(t, <-e.closed, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
	})
}

// TestSendDoesNotCountTheTimeInWhichNothingRan has a sweep come late, as in a process that was stopped, while Send waits for longer than
// WriteTimeout.
func TestSendDoesNotCountTheTimeInWhichNothingRan(t *testing.T) {
	t.Parallel()
	const limit, sweepIsLate = time.Second, time.Minute
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		const messages = 100
		sent := make(chan error, 1)
		h, e := observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			for range messages {
				if err := c.Send(hail.Binary(noise(10_000))); err != nil {
					sent <- err
					return err
				}
			}
			sent <- nil
			return nil
		}})
		s := &hail.Server{Handler: h, Options: hail.Options{WriteTimeout: limit, SendQueue: 100_000}}
		late := lateSweep(t, s, sweepIsLate)
		<-e.conns
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Timeout(time.Hour))...)
		<-e.conns
		<-late
		defer time.Sleep(sweepIsLate)
		p.Stall()
		p.Send(hail.Text("go"))
		time.Sleep(3 * limit)
		p.Resume()
		for range messages {
			p.Receive()
		}
		if err := <-sent; err != nil {
			t.Errorf("Send: %v", err)
		}
	})
}

// TestPingsGoOn has a peer do nothing but answer pings. Over TCP the system may still count a ping as unsent when it has
// been answered.
func TestPingsGoOn(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{Options: hail.Options{PingInterval: 20 * time.Millisecond}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		p.ReadFrame() // the greeting
		for i := range 10 {
			f := p.ReadFrame()
			if f.Opcode != hailtest.OpPing {
				t.Fatalf("frame %d: got %+v, want a ping", i, f)
			}
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPong, Payload: f.Payload}.Bytes())
		}
	})
}

// TestPingTimeoutLeavesASlowPeerAlone has a peer read for longer than PongTimeout what was sent ahead of the ping.
func TestPingTimeoutLeavesASlowPeerAlone(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := await(t, "OnConnect", e.conns, ample)
		p.ReadSlowly(1<<10, 250*time.Millisecond)
		if err := c.Send(hail.Binary(noise(300_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.Pending() != 1 {
			t.Errorf("the message has not arrived; closed: %+v", <-e.closed)
		}
	})
}

func TestPingTimeoutLeavesAPeerAloneThatIsSentMoreThanItTakes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tcp", "tls"} { // of the others the system does not tell what the peer has taken
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: time.Second, PongTimeout: time.Second, SendQueue: -1}}
			p := hailtest.Dial(t, s, "/", transports[name]...)
			p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10) // so that the system tells of the peer's progress soon
			c := await(t, "OnConnect", e.conns, ample)
			p.ReadSlowly(2<<10, 40*time.Millisecond) // 50 KB a second
			if err := c.Send(hail.Binary(noise(200_000))); err != nil {
				t.Fatalf("Send: %v", err)
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range 200 {
				<-tick.C
				if err := c.Send(hail.Binary(noise(1_200))); err != nil { // 60 KB a second: the system takes it all
					t.Fatalf("Send: %v; closed: %+v", err, await(t, "OnClose", e.closed, ample))
				}
			}
			if c.Context().Err() != nil {
				t.Errorf("closed: %+v", await(t, "OnClose", e.closed, ample))
			}
		})
	}
}

// TestPingTimeoutLeavesASlowPeerAloneOverTLS has the system hold more bytes, in records of a few, than were written as they count here.
func TestPingTimeoutLeavesASlowPeerAloneOverTLS(t *testing.T) {
	t.Parallel()
	const messages = 6000 // of 10 bytes, and 22 more in each record
	h, e := observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: time.Second, PongTimeout: 2 * time.Second}}
	p := hailtest.Dial(t, s, "/", transports["tls"]...)
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
	c := await(t, "OnConnect", e.conns, ample)
	p.Stall()
	for range messages {
		before := s.Stats().BytesOut
		if err := c.Send(hail.Binary(make([]byte, 8))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		for limit := time.Now().Add(time.Millisecond); s.Stats().BytesOut == before && time.Now().Before(limit); {
			runtime.Gosched() // so that it is in a record of its own
		}
	}
	p.ReadSlowly(2<<10, 40*time.Millisecond) // 50 KB a second
	select {
	case info := <-e.closed:
		t.Errorf("closed: %+v", info)
	case <-time.After(5 * time.Second):
	}
}

// TestPingsAreSpread has many connections of the same moment, which shall not be pinged at the same moment.
func TestPingsAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const conns = 200
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h}
		var mu sync.Mutex
		times := make(map[time.Duration]int) // pings by the time since the start
		start := time.Now()
		var readers sync.WaitGroup
		for range conns {
			p := hailtest.Dial(t, s, "/", hailtest.Raw(), hailtest.Timeout(time.Hour))
			readers.Go(func() { // ends with the first frame; waited for below
				p.ReadFrame()
				mu.Lock()
				defer mu.Unlock()
				times[time.Since(start)]++
			})
		}
		readers.Wait()
		for at, n := range times {
			if at < 20*time.Second || at > 26*time.Second {
				t.Errorf("%d pings after %v, want them between 20 and 25 s", n, at)
			}
			if n > conns/4 {
				t.Errorf("%d of %d pings at once, after %v", n, conns, at)
			}
		}
		if len(times) < 8 {
			t.Errorf("pings at %d different times, want 8 at least: %v", len(times), times)
		}
		if len(e.closed) > 0 {
			t.Errorf("closed: %+v", <-e.closed)
		}
	})
}

func TestBlockedCallbackIsNotSilence(t *testing.T) {
	t.Parallel()
	block := func() { time.Sleep(10 * time.Minute) }
	for name, h := range map[string]hail.Handler{
		"OnConnect": {OnConnect: func(*hail.Conn, *http.Request) error { block(); return nil }},
		"OnMessage": {OnMessage: func(_ *hail.Conn, m hail.Message) error { block(); return nil }},
		"OnMessage, which sends meanwhile": {OnMessage: func(c *hail.Conn, m hail.Message) error {
			for range 600 {
				time.Sleep(time.Second)
				if err := c.Send(hail.Text("working")); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(h)
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
				p.Send(hail.Text("go"))
				time.Sleep(11 * time.Minute)
				if len(e.closed) > 0 {
					t.Fatalf("closed: %+v", <-e.closed)
				}
				p.Vanish()
				start := time.Now()
				checkClosed(t, await(t, "OnClose", e.closed, time.Hour), hail.StatusAbnormalClosure, hail.CausePingTimeout, false)
				if took := time.Since(start); took > 37*time.Second {
					t.Errorf("a peer that vanished later was found after %v, want about 35 s", took)
				}
			})
		})
	}
}

func TestBlockedOnErrorIsNotSilence(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{
			OnMessage: func(*hail.Conn, hail.Message) error { return hail.CloseError{Code: 4001, Reason: "chosen"} },
			OnError:   func(*hail.Conn, error) { time.Sleep(time.Minute) },
		})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		p.Send(hail.Text("go"))
		if got := p.WaitClose(); got.Code != 4001 {
			t.Errorf("close: got %v, want 4001", got)
		}
		checkClosed(t, await(t, "OnClose", e.closed, time.Hour), 4001, hail.CauseCallback, false)
	})
}

func TestPingsOff(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		c := await(t, "OnConnect", e.conns, ample)
		time.Sleep(3 * time.Hour)
		if err := c.Send(hail.Text("first")); err != nil {
			t.Errorf("after silent hours: Send: %v", err)
		}
		if f := p.ReadFrame(); f.Opcode != hailtest.OpText {
			t.Errorf("after silent hours: got %v, want no ping before the text", f)
		}
	})
}

func TestPongTimeoutOff(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{PongTimeout: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		if f := p.ReadFrame(); f.Opcode != hailtest.OpPing {
			t.Errorf("got %v, want a ping", f)
		}
		time.Sleep(3 * time.Hour)
		p.Write(message([]byte("still here")))
		await(t, "OnMessage", e.msgs, time.Second)
	})
}

func TestCloseTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		option, timeout time.Duration
		answerAfter     time.Duration // 0: never
		clean           bool
	}{
		"no answer":          {0, 5 * time.Second, 0, false},
		"no answer, shorter": {time.Second, time.Second, 0, false},
		"no answer, longer":  {time.Minute, time.Minute, 0, false},
		"answer in time":     {0, 0, 4900 * time.Millisecond, true},
		"off":                {-1, 0, 3 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: tc.option, Compression: true}}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				c := await(t, "OnConnect", e.conns, ample)
				start := time.Now()
				if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
					t.Fatalf("Close: %v", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("Close took %v, want that it does not wait", took)
				}
				if f := p.ReadFrame(); f.Opcode != hailtest.OpClose {
					t.Fatalf("got %v, want a close frame", f)
				}
				if tc.answerAfter > 0 {
					time.Sleep(tc.answerAfter)
					p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
				}
				info := await(t, "OnClose", e.closed, 48*time.Hour)
				if tc.timeout > 0 {
					checkDelay(t, "OnClose", start, tc.timeout)
				}
				checkClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, tc.clean)
			})
		})
	}
}

// While the peer takes what lies before our close frame, it cannot answer that.
func TestCloseTimeoutLeavesASlowReaderAlone(t *testing.T) {
	t.Parallel()
	const messages, size = 8, 64 << 10
	h, e := observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 500 * time.Millisecond, SendQueue: -1}}
	p := hailtest.Dial(t, s, "/", hailtest.TCP())
	c := await(t, "OnConnect", e.conns, ample)
	p.ReadSlowly(8<<10, 50*time.Millisecond) // 160 KB a second: what the system holds takes longer than CloseTimeout
	for range messages {
		if err := c.Send(hail.Binary(make([]byte, size))); err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
	if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
		t.Fatalf("Close: %v", err)
	}
	// Were the socket closed, this would have it reset, and what is on the way be lost.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		p.Send(hail.Text("what close?"))
	}
	if got := p.WaitClose(); got.Code != hail.StatusNormalClosure || p.Pending() != messages {
		t.Errorf("peer: got %v and %d messages, want %d and %d", got, p.Pending(), hail.StatusNormalClosure, messages)
	}
	checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusNormalClosure, hail.CauseClosed, true)
}

// TestCloseTimeoutWithoutWriteTimeout has a peer that takes nothing of what lies before our close frame, which it may do for ever.
func TestCloseTimeoutWithoutWriteTimeout(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"with the system": 100_000, "queued": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 100 * time.Millisecond, WriteTimeout: -1, SendQueue: -1}}
			p := hailtest.Dial(t, s, "/", hailtest.TCP())
			p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
			c := await(t, "OnConnect", e.conns, ample)
			p.Stall()
			if err := c.Send(hail.Binary(make([]byte, size))); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if err := c.Close(hail.StatusNormalClosure, ""); err != nil {
				t.Fatalf("Close: %v", err)
			}
			select {
			case info := <-e.closed:
				t.Errorf("closed: %+v", info)
			case <-time.After(time.Second):
			}
			p.Resume()
			if got := p.WaitClose(); got.Code != hail.StatusNormalClosure {
				t.Errorf("close frame: got %v, want 1000", got)
			}
			checkClosed(t, await(t, "OnClose", e.closed, ample), hail.StatusNormalClosure, hail.CauseClosed, true)
		})
	}
}

// Where it takes nothing of what lies before our close frame, WriteTimeout counts.
func TestCloseTimeoutOfAPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a peer has taken")
	}
	const writeTimeout = time.Second
	h, e := observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 100 * time.Millisecond, WriteTimeout: writeTimeout}}
	p := hailtest.Dial(t, s, "/", hailtest.TCP())
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
	c := await(t, "OnConnect", e.conns, ample)
	p.Stall()
	if err := c.Send(hail.Binary(make([]byte, 100_000))); err != nil { // the system takes it all
		t.Fatalf("Send: %v", err)
	}
	start := time.Now()
	if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
		t.Fatalf("Close: %v", err)
	}
	info := await(t, "OnClose", e.closed, ample)
	if took := time.Since(start); took < writeTimeout {
		t.Errorf("OnClose: after %v, want at least %v", took, writeTimeout)
	}
	checkClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, false)
	checkNames(t, info.Err, "the peer's close frame did not come")
}

// The peer's close frame comes while ours waits behind what is queued, or is being written with it.
func TestCloseInfoHasTheCodeThatCameFirst(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		for _, read := range []int{0, 2} { // behind the first message all others are one write
			h, e := observed(hail.Handler{})
			s := &hail.Server{Handler: h}
			p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw(), hailtest.BufferSize(1<<10))...)
			c := await(t, "OnConnect", e.conns, ample)
			for c.TrySend(hail.Binary(make([]byte, 50_000))) == nil {
			}
			if err := c.Close(4000, "ours"); err != nil {
				t.Fatalf("Close: %v", err)
			}
			for range read {
				p.ReadFrame()
			}
			p.Write(hailtest.CloseFrame(3000, "theirs").Bytes())
			<-c.Context().Done()
			if got := p.WaitClose(); got.Code != 4000 {
				t.Errorf("close frame: got %v, want 4000", got)
			}
			info := await(t, "OnClose", e.closed, ample)
			checkClosed(t, info, 3000, hail.CauseClosed, true)
			if info.Reason != "theirs" {
				t.Errorf("CloseInfo: got reason %q, want %q", info.Reason, "theirs")
			}
		}
	})
}

// Where a message is read in fragments, and what comes in its place is no frame, the peer's close frame cannot be found
// behind it: it is not waited for.
func TestCloseDoesNotWaitForAPeerThatBreaksTheProtocol(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: -1}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		c := await(t, "OnConnect", e.conns, ample)
		p.Write(append(hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte("a message's first fra")}.Bytes(),
			hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes()...))
		if f := p.ReadFrame(); f.Opcode != hailtest.OpPong {
			t.Fatalf("got %v, want a pong", f)
		}
		if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if f := p.ReadFrame(); f.Opcode != hailtest.OpClose {
			t.Fatalf("got %v, want a close frame", f)
		}
		p.Write(hailtest.Frame{Fin: true, Opcode: 3}.Bytes())
		// It may be there before the close frame's write has returned: the code is 1006 then.
		if info := await(t, "OnClose", e.closed, ample); info.Cause != hail.CauseClosed || info.Err == nil {
			t.Errorf("CloseInfo: got %v, error %v; want %v and an error", info.Cause, info.Err, hail.CauseClosed)
		}
	})
}

// brokenConn is a transport whose writes can fail while its reads wait.
type brokenConn struct {
	net.Conn
	broken atomic.Bool
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errors.New("broken")
	}
	return c.Conn.Write(p)
}

func TestCloseTimeoutWhereTheCloseFrameCannotBeWritten(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		var nc *brokenConn
		wrap := hailtest.Wrap(func(inner net.Conn) net.Conn {
			nc = &brokenConn{Conn: inner}
			return nc
		})
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 3 * time.Second}}
		hailtest.Dial(t, s, "/", append(opts, hailtest.Raw(), wrap)...)
		c := await(t, "OnConnect", e.conns, ample)
		nc.broken.Store(true)
		start := time.Now()
		if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		info := await(t, "OnClose", e.closed, 48*time.Hour)
		checkDelay(t, "OnClose", start, 3*time.Second)
		checkClosed(t, info, hail.StatusAbnormalClosure, hail.CauseClosed, false)
		checkNames(t, info.Err, "the close frame could not be written")
	})
}

func TestCloseTimeoutWhileTheCallbackThatClosedGoesOn(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.Close(hail.StatusNormalClosure, "bye")
			time.Sleep(10 * time.Second) // tidies up
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		p.Send(hail.Text("go")) // the peer answers the close frame at once
		info := await(t, "OnClose", e.closed, time.Hour)
		checkClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, true)
	})
}

func TestCloseWritesWhatIsQueuedToASlowReader(t *testing.T) {
	t.Parallel()
	overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: noPings(hail.Options{})}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := await(t, "OnConnect", e.conns, ample)
		p.ReadSlowly(1<<10, 250*time.Millisecond)
		if err := c.Send(hail.Binary(noise(100_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if err := c.Close(hail.StatusNormalClosure, ""); err != nil {
			t.Fatalf("Close: %v", err)
		}
		checkClosed(t, await(t, "OnClose", e.closed, time.Hour), hail.StatusNormalClosure, hail.CauseClosed, true)
		if p.Pending() != 1 {
			t.Error("the message that was queued before Close has not arrived")
		}
	})
}

func TestSecondShutdownObeysItsContext(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	running := make(chan struct{})
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: accept,
		OnMessage: func(*hail.Conn, hail.Message) error { close(running); <-finish; return nil },
	}, Options: hail.Options{CloseTimeout: 50 * time.Millisecond, Logger: quiet}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("block"))
	<-running
	result := make(chan error, 2)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() { result <- s.Shutdown(ctx) }() // ends with Shutdown; its result is waited for
	}
	for i := range 2 {
		select {
		case err := <-result:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: got %v, want its context's error", err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("Shutdown %d has not returned after 5 s, want it at the end of its context, after 100 ms", i+1)
		}
	}
	close(finish)
}

// TestTimeoutsOnRealSockets has short timeouts on a real clock: what they do is the same as in a bubble.
func TestTimeoutsOnRealSockets(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	for name, tc := range map[string]struct {
		options hail.Options
		act     func(*hailtest.Peer, *hail.Conn)
		code    hail.StatusCode
		cause   hail.Cause
	}{
		"MessageTimeout, a frame": {hail.Options{MessageTimeout: short, CloseTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Write(message([]byte("half"))[:8]) },
			hail.StatusPolicyViolation, hail.CauseMessageTimeout},
		"MessageTimeout, fragments": {hail.Options{MessageTimeout: short, CloseTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Write(fragments(false, []byte("half"), 2)[:9]) },
			hail.StatusPolicyViolation, hail.CauseMessageTimeout},
		"WriteTimeout": {hail.Options{WriteTimeout: short, PingInterval: -1},
			func(p *hailtest.Peer, c *hail.Conn) {
				p.Stall()
				for c.Send(hail.Binary(noise(100_000))) == nil {
				}
			},
			hail.StatusAbnormalClosure, hail.CauseWriteTimeout},
		"PingTimeout": {hail.Options{PingInterval: short, PongTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Vanish() },
			hail.StatusAbnormalClosure, hail.CausePingTimeout},
		"CloseTimeout": {hail.Options{CloseTimeout: short},
			func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
			hail.StatusNormalClosure, hail.CauseClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, opts := range [][]hailtest.Option{{hailtest.TCP()}, {hailtest.TCP(), hailtest.TLS(nil)}} {
				h, e := observed(hail.Handler{})
				start := time.Now()
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: tc.options}, "/", opts...)
				c := await(t, "OnConnect", e.conns, ample)
				if tc.cause != hail.CausePingTimeout { // silence counts from the handshake on
					start = time.Now()
				}
				tc.act(p, c)
				checkClosed(t, await(t, "OnClose", e.closed, ample), tc.code, tc.cause, false)
				if took := time.Since(start); took < short {
					t.Errorf("took %v, want %v at least", took, short)
				}
			}
		})
	}
}

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
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := newLogbook()
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{MaxConns: 3, Logger: logger}}
		var peers []*hailtest.Peer
		for range 3 {
			peers = append(peers, hailtest.Dial(t, s, "/", opts...))
			await(t, "OnConnect", e.conns, ample)
		}
		for range 2 {
			checkRefused(t, hailtest.Handshake(t, s, "/?token=SECRET", opts...), http.StatusServiceUnavailable)
		}
		if got := s.Stats(); got.Accepted != 3 || got.Refused != 2 {
			t.Errorf("Stats: got %d accepted, %d refused; want 3, 2", got.Accepted, got.Refused)
		}
		if got := strings.Join(log.level("WARN"), "\n"); strings.Count(got, "Options.MaxConns") != 2 || strings.Contains(got, "SECRET") {
			t.Errorf("log: got %s, want two refusals that name Options.MaxConns, without the query", got)
		}
		peers[1].Close(hail.StatusNormalClosure, "")
		await(t, "OnClose", e.closed, ample)
		awaitSlot(t, s, opts...)
	})
}

// awaitSlot waits until a server lets a connection in: a slot is free a moment after OnClose.
func awaitSlot(t *testing.T, s *hail.Server, opts ...hailtest.Option) {
	t.Helper()
	waitFor(t, func() bool {
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
			overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
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
						Options: hail.Options{MaxConns: 1, MaxConnsPerIP: 1, Logger: quiet},
					}
					use(t, s, opts...)
					awaitSlot(t, s, opts...)
				}
			})
		})
	}
}

// hijacked is a ResponseWriter that gives away a connection that was taken before.
type hijacked struct {
	http.ResponseWriter
	nc  net.Conn
	brw *bufio.ReadWriter
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.nc, w.brw, nil }

func TestMaxConnsPerIP(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := newLogbook()
		h, e := observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{MaxConnsPerIP: 2, Logger: logger}}
		from := func(addr string) []hailtest.Option { return append(slices.Clone(opts), hailtest.RemoteAddr(addr)) }
		first := hailtest.Dial(t, s, "/", from("127.0.0.2:0")...)
		hailtest.Dial(t, s, "/", from("127.0.0.2:0")...)
		checkRefused(t, hailtest.Handshake(t, s, "/?token=SECRET", from("127.0.0.2:0")...), http.StatusTooManyRequests)
		if got := strings.Join(log.level("WARN"), "\n"); strings.Count(got, "Options.MaxConnsPerIP") != 1 ||
			!strings.Contains(got, "127.0.0.2") || strings.Contains(got, "SECRET") {
			t.Errorf("log: got %s, want a refusal that names the address and Options.MaxConnsPerIP, without the query", got)
		}
		hailtest.Dial(t, s, "/", from("127.0.0.3:0")...) // has slots of its own
		first.Close(hail.StatusNormalClosure, "")
		await(t, "OnClose", e.closed, ample)
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
			s := &hail.Server{Options: hail.Options{MaxConnsPerIP: 1, Logger: quiet}}
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
	h, _ := observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{MaxConns: limit, MaxConnsPerIP: limit, Logger: quiet}}
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

func TestMessageRate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rate  float64
		burst int
		most  int // at once
	}{
		"rate and burst":             {10, 5, 5},
		"a second's worth":           {10, 0, 10},
		"a second's worth, rounded":  {2.5, 0, 3},
		"less than one a second":     {0.5, 0, 1},
		"a burst larger than a rate": {2, 20, 20},
		"no burst":                   {10, -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{MessageRate: tc.rate, MessageBurst: tc.burst, Compression: true}}
				p := hailtest.Dial(t, s, "/", opts...)
				await(t, "OnConnect", e.conns, ample)
				send := func(n int) int {
					for i := range n {
						p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes()) // heartbeats do not count
						if i%2 == 0 {
							p.Write(message([]byte("m")))
						} else {
							p.Write(fragments(false, []byte("mmm"), 1, 1)) // is one message
						}
					}
					synctest.Wait()
					return len(e.closed)
				}
				each := time.Duration(float64(time.Second) / tc.rate)
				if send(tc.most) != 0 {
					t.Fatalf("%d messages at once: closed: %+v", tc.most, <-e.closed)
				}
				for range 50 { // for long at the rate
					time.Sleep(each + time.Millisecond)
					if send(1) != 0 {
						t.Fatalf("at the rate: closed: %+v", <-e.closed)
					}
				}
				time.Sleep(time.Hour) // saves up no more than the burst
				if send(tc.most) != 0 {
					t.Fatalf("%d messages after a silence: closed: %+v", tc.most, <-e.closed)
				}
				if got, want := len(e.msgs), 2*tc.most+50; got != want {
					t.Errorf("OnMessage: got %d messages, want %d", got, want)
				}
				if send(1) != 1 {
					t.Fatal("one message more: the connection is open")
				}
				checkClosed(t, <-e.closed, hail.StatusPolicyViolation, hail.CauseMessageRate, false)
				checkNames(t, <-e.errs, strconv.FormatFloat(tc.rate, 'g', -1, 64), "Options.MessageRate")
				if got := p.WaitClose(); got.Code != hail.StatusPolicyViolation || got.Reason != "too many messages" {
					t.Errorf("close: got %v, want 1008, too many messages", got)
				}
				if got, want := len(e.msgs), 2*tc.most+50; got != want {
					t.Errorf("OnMessage: got %d messages, want %d and not the one too many", got, want)
				}
			})
		})
	}
}

func TestMessageRateOff(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]hail.Options{
		"zero":              {},
		"negative":          {MessageRate: -1},
		"zero with burst":   {MessageBurst: 1},
		"infinite":          {MessageRate: math.Inf(1)},
		"larger than int":   {MessageRate: 1e300},
		"negative infinite": {MessageRate: math.Inf(-1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := observed(hail.Handler{})
			p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/")
			p.Write(bytes.Repeat(message([]byte("m")), 3000))
			for range 3000 {
				await(t, "OnMessage", e.msgs, ample)
			}
		})
	}
}

// logbook is a logger's memory.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// newLogbook returns a logger for all levels and what it has logged.
func newLogbook() (*slog.Logger, *logbook) {
	l := &logbook{}
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(strings.Lines(l.buf.String()))
}

// level returns the lines of one level.
func (l *logbook) level(name string) []string {
	return slices.DeleteFunc(l.lines(), func(line string) bool { return !strings.Contains(line, "level="+name+" ") })
}

func TestLoggerGetsConnectionsAndMessagesAtDebug(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := newLogbook()
		s := &hail.Server{Options: hail.Options{Logger: logger}}
		p := hailtest.Dial(t, s, "/room?token=SECRET", append(slices.Clone(opts), hailtest.RemoteAddr("127.0.0.9:0"))...)
		p.Receive()
		p.Send(hail.Binary(make([]byte, 321)))
		p.Receive()
		p.Close(4321, "good reason")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		all := log.lines()
		if debug := log.level("DEBUG"); len(all) != 3 || len(debug) != 3 {
			t.Fatalf("got %d lines, %d of them at Debug, want 3: %q", len(all), len(debug), all)
		}
		for i, words := range [][]string{
			{"connected", "conn=1", "path=/room", "remote=127.0.0.9:"},
			{"message", "conn=1", "bytes=321", "MessageBinary"},
			{"closed", "conn=1", "peer closed", "code=4321", "good reason"},
		} {
			checkNames(t, errors.New(all[i]), words...)
			if strings.Contains(all[i], "SECRET") {
				t.Errorf("the query is logged: %s", all[i])
			}
		}
	})
}

func TestLoggerAboveDebugIsQuiet(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	s := &hail.Server{Options: hail.Options{Logger: slog.New(slog.NewTextHandler(&buf, nil))}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("hi"))
	p.Close(hail.StatusNormalClosure, "")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if buf.Len() > 0 {
		t.Errorf("got %s, want nothing", buf.String())
	}
}

// TestLoggerLevels ends connections in each way, and looks at what that is to the log.
func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	const query, content, reason = "SECRET-QUERY", "SECRET-CONTENT", "ordinary"
	for name, tc := range map[string]struct {
		act     func(t *testing.T, p *hailtest.Peer, c *hail.Conn)
		isError string // a word of the error; "" for what is expected
	}{
		"closed by the peer":    {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusNormalClosure, reason) }, ""},
		"a page that was left":  {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusGoingAway, "") }, ""},
		"closed without a code": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusNoStatusRcvd, "") }, ""},
		"closed with an error":  {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusInternalError, reason) }, ""},
		"FIN":                   {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.CloseWrite() }, ""},
		"RST":                   {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Reset() }, ""},
		"FIN in a message": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(message([]byte(content))[:12])
			p.CloseWrite()
		}, ""},
		"no answer to a ping": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Vanish() }, ""},
		"no answer to the close": {func(_ *testing.T, p *hailtest.Peer, c *hail.Conn) {
			p.Vanish()
			c.Close(hail.StatusNormalClosure, reason)
		}, ""},
		"closed by the server":  {func(_ *testing.T, _ *hailtest.Peer, c *hail.Conn) { c.Close(hail.StatusNormalClosure, reason) }, ""},
		"an error of OnMessage": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Send(hail.Text("error " + content)) }, "callback failed"},
		"a panic of OnMessage":  {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Send(hail.Text("panic " + content)) }, "callback panicked"},
		"a message that is longer": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(message([]byte(strings.Repeat(content, 100))))
		}, "Options.ReadLimit"},
		"text that is not UTF-8": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(content + "\xff")}.Bytes())
		}, "UTF-8"},
		"text in fragments that is not UTF-8": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(slices.Concat(
				hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte(content)}.Bytes(),
				hailtest.Frame{Fin: true, Opcode: hailtest.OpContinuation, Payload: []byte("\xff")}.Bytes()))
		}, "UTF-8"},
		"a frame without a mask": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(content), Unmasked: true}.Bytes())
		}, "unmasked"},
		"a reserved opcode": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: 3, Payload: []byte(content)}.Bytes())
		}, "opcode"},
		"a close frame with a code that is none": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.CloseFrame(1005+1, "").Bytes())
		}, "close"},
		"compressed garbage": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(fragments(true, []byte("\xff\xff"+content)))
		}, "hail: error"},
		"a message that is late": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Write(message([]byte(content))[:12]) }, "Options.MessageTimeout"},
		"too many messages": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(bytes.Repeat(message([]byte(content)), 100))
		}, "Options.MessageRate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, withOnError := range []bool{false, true} {
				t.Run(fmt.Sprintf("OnError %v", withOnError), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						logger, log := newLogbook()
						h, e := observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
							switch word, _, _ := strings.Cut(m.String(), " "); word {
							case "error":
								return errors.New("callback failed")
							case "panic":
								panic("callback panicked")
							}
							return nil
						}})
						if !withOnError {
							h.OnError = nil
						}
						s := &hail.Server{Handler: h, Options: hail.Options{
							ReadLimit: 1000, MessageRate: 50, Compression: true, Logger: logger,
						}}
						p := hailtest.Dial(t, s, "/?token="+query, hailtest.Compression(), hailtest.Timeout(time.Hour))
						tc.act(t, p, await(t, "OnConnect", e.conns, ample))
						await(t, "OnClose", e.closed, time.Hour)
						if err := s.Shutdown(t.Context()); err != nil {
							t.Errorf("Shutdown: %v", err)
						}
						errs := log.level("ERROR")
						if want := tc.isError != "" && !withOnError; (len(errs) > 0) != want || len(errs) > 1 {
							t.Errorf("got %d errors, want one: %v: %q", len(errs), want, errs)
						} else if want && !strings.Contains(errs[0], tc.isError) {
							t.Errorf("got %s, want %q in it", errs[0], tc.isError)
						}
						if want := tc.isError != "" && withOnError; (len(e.errs) == 1) != want {
							t.Errorf("OnError was called %d times, want once: %v", len(e.errs), want)
						}
						if other := slices.Concat(log.level("WARN"), log.level("INFO")); len(other) > 0 {
							t.Errorf("got %q, want nothing at Info and Warn", other)
						}
						for _, line := range log.lines() {
							if strings.Contains(line, query) || strings.Contains(line, content) {
								t.Errorf("what nobody may see is logged: %s", line)
							}
						}
					})
				})
			}
		})
	}
}

func TestLoggerGetsRefusalsAtWarn(t *testing.T) {
	t.Parallel()
	const handshake = "GET /ws?token=SECRET HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, request := range map[string]string{
		"another origin":         handshake + "Origin: http://evil.com\r\n\r\n",
		"not a handshake":        "GET /ws?token=SECRET HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"another method":         strings.Replace(handshake, "GET", "POST", 1) + "Content-Length: 0\r\n\r\n",
		"another version":        strings.Replace(handshake, "13", "12", 1) + "\r\n",
		"a key that is none":     strings.Replace(handshake, "dGhl", "dG", 1) + "\r\n",
		"a body":                 handshake + "Content-Length: 1\r\n\r\nx",
		"HTTP/1.0":               strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n",
		"an absolute target":     strings.Replace(handshake, "/ws", "http://example.com/ws", 1) + "Origin: null\r\n\r\n",
		"a referrer and cookies": handshake + "Origin: null\r\nReferer: http://example.com/?token=SECRET\r\nCookie: token=SECRET\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logger, log := newLogbook()
			s := &hail.Server{Options: hail.Options{Logger: logger}}
			got := hailtest.Exchange(t, s, request)
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("got %q, want Connection: close in it", got)
			}
			lines := log.lines()
			if len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "path=/ws") ||
				strings.Contains(lines[0], "SECRET") {
				t.Errorf("got %q, want one line at Warn with the path and without the query", lines)
			}
			if got := s.Stats().Refused; got != 1 {
				t.Errorf("Stats.Refused: got %d, want 1", got)
			}
		})
	}
}

// TestLoggerIsTheDefaultOne is not parallel: it changes slog's default.
func TestLoggerIsTheDefaultOne(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	logger, log := newLogbook()
	slog.SetDefault(logger)
	s := &hail.Server{}
	p := hailtest.Dial(t, s, "/")
	p.Close(hail.StatusNormalClosure, "")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := len(log.level("DEBUG")); got != 2 {
		t.Errorf("got %d lines, want 2: %q", got, log.lines())
	}
}

func TestEveryOptionCanBeOff(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hail.Handler{OnConnect: accept, OnMessage: hail.Echo},
			Options: hail.Options{
				ReadLimit: -1, SendQueue: -1, MaxConns: -1, MaxConnsPerIP: -1, MessageRate: -1, MessageBurst: -1,
				MessageTimeout: -1, WriteTimeout: -1, PingInterval: -1, PongTimeout: -1, CloseTimeout: -1,
				Logger: quiet,
			},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		want := noise(1 << 19)
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
			h, e := observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{Subprotocols: []string{"v1"}, Origins: []string{"https://app.example"}, Logger: quiet}}
			first(t, s)
			for len(e.conns) > 0 {
				<-e.conns
				await(t, "OnClose", e.closed, ample)
			}
			s.Handler = hail.Handler{
				OnConnect: func(*hail.Conn, *http.Request) error { return errors.New("the late OnConnect") },
				OnMessage: func(*hail.Conn, hail.Message) error { panic("the late OnMessage") },
				OnClose:   func(*hail.Conn, hail.CloseInfo) { t.Error("the late OnClose was called") },
				OnError:   func(_ *hail.Conn, err error) { t.Errorf("the late OnError was called: %v", err) },
			}
			logger, log := newLogbook()
			s.Options = hail.Options{Subprotocols: []string{"v2"}, Compression: true, ReadLimit: 1, MaxConns: 1, MessageRate: 0.001,
				Origins: []string{"a malformed pattern"}, Logger: logger}
			for range 2 { // more than the late MaxConns
				p := hailtest.Dial(t, s, "/", hailtest.Subprotocols("v2", "v1"), hailtest.Compression(), hailtest.Origin("https://app.example"))
				if got := p.Response.Header; got.Get("Sec-WebSocket-Protocol") != "v1" || got.Get("Sec-WebSocket-Extensions") != "" {
					t.Errorf("response: got %v, want v1 without compression", got)
				}
				await(t, "OnConnect", e.conns, ample)
				for range 3 {
					p.Send(hail.Text("longer than the late limit"))
					await(t, "OnMessage", e.msgs, ample)
				}
			}
			if lines := log.lines(); len(lines) > 0 {
				t.Errorf("the late Logger got %q", lines)
			}
		})
	}
}

func TestLateChangeOfASubprotocolHasNoEffect(t *testing.T) {
	t.Parallel()
	h, _ := observed(hail.Handler{})
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

// TestLargestTimeouts has durations that overflow where a tick is added to them.
func TestLargestTimeouts(t *testing.T) {
	t.Parallel()
	const ever = time.Duration(math.MaxInt64)
	for name, act := range map[string]func(*hailtest.Peer, *hail.Conn){
		"MessageTimeout": func(p *hailtest.Peer, _ *hail.Conn) { p.Write(message([]byte("half"))[:8]) },
		"WriteTimeout":   func(p *hailtest.Peer, c *hail.Conn) { p.Stall(); c.Send(hail.Text("not read")) },
		"PongTimeout":    func(p *hailtest.Peer, _ *hail.Conn) { p.Vanish() },
		"CloseTimeout":   func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := observed(hail.Handler{})
				o := hail.Options{MessageTimeout: ever, WriteTimeout: ever, PongTimeout: ever, CloseTimeout: ever, PingInterval: time.Minute}
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/", append(opts, hailtest.BufferSize(1), hailtest.Timeout(time.Hour))...)
				act(p, await(t, "OnConnect", e.conns, ample))
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if len(e.closed) > 0 {
					t.Errorf("closed: %+v", <-e.closed)
				}
				p.Reset()
			})
		})
	}
}
