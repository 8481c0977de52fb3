package limits_test

// Limits of received messages: their size and their rate.

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestReadLimit sends messages that are as long as is allowed, then one that is a byte longer.
func TestReadLimit(t *testing.T) {
	t.Parallel()
	plain := map[string]func(t *testing.T, data []byte) []byte{
		"whole":     func(_ *testing.T, data []byte) []byte { return kit.Message(data) },
		"fragments": func(_ *testing.T, data []byte) []byte { return kit.Fragments(false, data, len(data)/3, 1, len(data)/4) },
		"fragments with empty ones": func(_ *testing.T, data []byte) []byte {
			return kit.Fragments(false, data, 0, len(data)-1, 0, 1, 0)
		},
	}
	compressed := map[string]func(t *testing.T, data []byte) []byte{
		"compressed": func(t *testing.T, data []byte) []byte { return kit.Fragments(true, kit.Deflate(data)) },
		"compressed fragments": func(t *testing.T, data []byte) []byte {
			z := kit.Deflate(data)
			return kit.Fragments(true, z, len(z)/2, 0)
		},
		"compressed noise": func(t *testing.T, data []byte) []byte {
			return kit.Fragments(true, kit.Deflate(kit.Noise(len(data))))
		},
	}
	for _, tc := range []struct {
		option int64
		limit  int
	}{{0, 65536}, {10, 10}, {300_000, 300_000}} {
		test := func(t *testing.T, shape func(*testing.T, []byte) []byte, opts ...hailtest.Option) {
			h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
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
			kit.CheckNames(t, kit.Await(t, "OnError", e.Errs, kit.Ample), strconv.Itoa(tc.limit), "Options.ReadLimit")
			info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
			kit.CheckClosed(t, info, hail.StatusMessageTooBig, hail.CauseReadLimit, false)
			kit.CheckNames(t, info.Err, strconv.Itoa(tc.limit), "Options.ReadLimit")
			if n := p.Pending(); n != 0 {
				t.Errorf("%d answers to the message that is too long", n)
			}
		}
		t.Run(fmt.Sprint(tc.limit), func(t *testing.T) {
			t.Parallel()
			for name, shape := range plain {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) { test(t, shape, opts...) })
				})
			}
			for name, shape := range compressed {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
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
		"2^62 bytes behind one": slices.Concat(kit.Fragments(false, []byte("x"), 1)[:7], hailtest.Frame{Opcode: hailtest.OpContinuation, Length: 1 << 62}.Bytes()),
		"2^63-1 bytes behind 65536": slices.Concat(
			hailtest.Frame{Opcode: hailtest.OpBinary, Payload: make([]byte, 65536)}.Bytes(),
			hailtest.Frame{Opcode: hailtest.OpContinuation, Length: math.MaxInt64}.Bytes()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				// The peer's close frame is lost in the payload that it has claimed.
				s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 100 * time.Millisecond}}
				p := hailtest.Dial(t, s, "/", opts...)
				p.Write(b)
				if got := p.WaitClose(); got.Code != hail.StatusMessageTooBig {
					t.Errorf("close: got %v, want 1009", got)
				}
				kit.CheckNames(t, kit.Await(t, "OnError", e.Errs, kit.Ample), "65536", "Options.ReadLimit")
				kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusMessageTooBig, hail.CauseReadLimit, false)
			})
		})
	}
}

func TestReadLimitLeavesHeartbeatsAlone(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, _ := kit.Observed(hail.Handler{})
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
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{ReadLimit: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		want := kit.Noise(1 << 20)
		p.Send(hail.Binary(want))
		p.Write(kit.Fragments(false, want, 300_000, 100_000))
		for range 2 {
			if got := kit.Await(t, "OnMessage", e.Msgs, kit.Ample); !bytes.Equal(got.Data, want) {
				t.Errorf("got %d bytes, want the %d that were sent", len(got.Data), len(want))
			}
		}
	})
}

// TestReadLimitTakesNoMemory is not parallel: it measures the allocations of the whole process.
func TestReadLimitTakesNoMemory(t *testing.T) {
	const conns = 100
	claim := hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: 16 << 30}.Bytes()
	part := hailtest.Frame{Opcode: hailtest.OpBinary, Length: 16 << 30}.Bytes()
	bomb := kit.Fragments(true, kit.Deflate(make([]byte, 16<<20)))
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
			h, e := kit.Observed(hail.Handler{})
			tc.options.CloseTimeout = 10 * time.Millisecond
			s := &hail.Server{Handler: h, Options: tc.options}
			peers := make([]*hailtest.Peer, conns)
			for i := range peers {
				peers[i] = hailtest.Dial(t, s, "/", hailtest.Compression())
			}
			before := kit.TotalAlloc()
			for _, p := range peers {
				p.Write(tc.send)
			}
			if tc.refused {
				for range peers {
					kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusMessageTooBig, hail.CauseReadLimit, false)
				}
			} else {
				kit.Until(t, "every byte read", func() bool { return s.Stats().BytesIn == uint64(conns*len(tc.send)) })
			}
			if each, most := (kit.TotalAlloc()-before)/conns, uint64(1<<20); each > most {
				t.Errorf("allocated %d bytes a connection, want at most %d", each, most)
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
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{MessageRate: tc.rate, MessageBurst: tc.burst, Compression: true}}
				p := hailtest.Dial(t, s, "/", opts...)
				kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				send := func(n int) int {
					for i := range n {
						p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes()) // heartbeats do not count
						if i%2 == 0 {
							p.Write(kit.Message([]byte("m")))
						} else {
							p.Write(kit.Fragments(false, []byte("mmm"), 1, 1)) // is one message
						}
					}
					synctest.Wait()
					return len(e.Closed)
				}
				each := time.Duration(float64(time.Second) / tc.rate)
				if send(tc.most) != 0 {
					t.Fatalf("%d messages at once: closed: %+v", tc.most, <-e.Closed)
				}
				for range 50 { // for long at the rate
					time.Sleep(each + time.Millisecond)
					if send(1) != 0 {
						t.Fatalf("at the rate: closed: %+v", <-e.Closed)
					}
				}
				time.Sleep(time.Hour) // saves up no more than the burst
				if send(tc.most) != 0 {
					t.Fatalf("%d messages after a silence: closed: %+v", tc.most, <-e.Closed)
				}
				if got, want := len(e.Msgs), 2*tc.most+50; got != want {
					t.Errorf("OnMessage: got %d messages, want %d", got, want)
				}
				if send(1) != 1 {
					t.Fatal("one message more: the connection is open")
				}
				kit.CheckClosed(t, <-e.Closed, hail.StatusPolicyViolation, hail.CauseMessageRate, false)
				kit.CheckNames(t, <-e.Errs, strconv.FormatFloat(tc.rate, 'g', -1, 64), "Options.MessageRate")
				if got := p.WaitClose(); got.Code != hail.StatusPolicyViolation || got.Reason != "too many messages" {
					t.Errorf("close: got %v, want 1008, too many messages", got)
				}
				if got, want := len(e.Msgs), 2*tc.most+50; got != want {
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
			h, e := kit.Observed(hail.Handler{})
			p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/")
			p.Write(bytes.Repeat(kit.Message([]byte("m")), 3000))
			for range 3000 {
				kit.Await(t, "OnMessage", e.Msgs, kit.Ample)
			}
		})
	}
}
