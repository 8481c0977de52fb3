package lifecycle_test

// Bytes that come with the handshake, and bytes that end anywhere.

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestBytesThatEndAnywhere cuts a stream of frames at each of its bytes: an incomplete message is no message.
func TestBytesThatEndAnywhere(t *testing.T) {
	t.Parallel()
	parts := []struct {
		b       []byte
		message string // the message that is complete with the last byte
	}{
		{kit.Message([]byte("plain")), "plain"},
		{hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte("ping")}.Bytes(), ""},
		{kit.Message(bytes.Repeat([]byte("x"), 126)), strings.Repeat("x", 126)},
		{kit.Fragments(false, []byte("in parts"), 2, 0, 3), "in parts"},
		{kit.Fragments(true, kit.Deflate([]byte("compressed"))), "compressed"},
		{kit.Fragments(true, kit.Deflate([]byte("compressed parts")), 4), "compressed parts"},
		{hailtest.CloseFrame(4000, "bye").Bytes(), ""},
	}
	var stream []byte
	for _, part := range parts {
		stream = append(stream, part.b...)
	}
	test := func(t *testing.T, n int, leave func(*hailtest.Peer), lossless bool, connect dial, e kit.Events) {
		p := connect("/", hailtest.Compression())
		p.Write(stream[:n])
		leave(p)
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		var want []string
		for rest, i := n, 0; i < len(parts) && rest >= len(parts[i].b); i++ {
			if rest -= len(parts[i].b); parts[i].message != "" {
				want = append(want, parts[i].message)
			}
		}
		var got []string
		for len(e.Msgs) > 0 {
			got = append(got, (<-e.Msgs).String())
		}
		if !lossless {
			want = want[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d bytes: OnMessage got %.20q, want %.20q", n, got, want)
		}
		wantCause := hail.CausePeerGone
		if n == len(stream) {
			wantCause = hail.CausePeerClosed
		}
		if lossless && info.Cause != wantCause || len(e.Errs) > 0 {
			t.Errorf("%d bytes: got %+v, %d errors; want %v and no error", n, info, len(e.Errs), wantCause)
		}
	}
	for name, leave := range map[string]func(*hailtest.Peer){"FIN": (*hailtest.Peer).CloseWrite, "RST": (*hailtest.Peer).Reset} {
		for transport, dialer := range dialers {
			t.Run(name+" "+transport, func(t *testing.T) {
				t.Parallel()
				h, e := kit.Observed(hail.Handler{})
				connect := dialer(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true, Logger: kit.Quiet}})
				step := 1
				if testing.Short() {
					step = 11
				}
				for n := 0; n <= len(stream); n += step {
					test(t, n, leave, name == "FIN", connect, e)
				}
			})
		}
	}
}

func TestNothingFollowsTheCloseFrame(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", kit.Narrow(opts)...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		p.Write(hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte("a fragment")}.Bytes())
		synctest.Wait()
		if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		synctest.Wait() // a byte of the close frame is written
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte("late")}.Bytes())
		synctest.Wait()
		p.Resume()
		p.WaitClose() // fails at a pong after the close frame
	})
}

// TestEarlyData sends frames in the handshake's packet.
func TestEarlyData(t *testing.T) {
	t.Parallel()
	server := func() (*hail.Server, kit.Events) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			if c.State() != "connected" {
				return errors.New("OnMessage before OnConnect")
			}
			return c.Send(m)
		}, OnConnect: func(c *hail.Conn, _ *http.Request) error {
			c.SetState("connected")
			return c.Send(hail.Text("welcome"))
		}})
		return &hail.Server{Handler: h, Options: hail.Options{Compression: true, CloseTimeout: time.Second}}, e
	}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		t.Run("of every size", func(t *testing.T) {
			// A handshake and its early data share a buffer of 4 KiB: their sum goes past it here.
			for size := 3600; size < 4200; size += 13 {
				s, _ := server()
				want := kit.Noise(size)
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(kit.Message(want)))...)
				if got := p.Receive().String(); got != "welcome" {
					t.Errorf("got %q first, want the message that OnConnect sends", got)
				}
				if got := p.Receive(); !bytes.Equal(got.Data, want) {
					t.Errorf("echo of %d bytes: got %d", size, len(got.Data))
				}
			}
		})
		t.Run("of several messages", func(t *testing.T) {
			for _, size := range []int{0, 1, 125, 126, 1000, 30_000, 65_536} {
				s, _ := server()
				var early []byte
				for seq := range 10 {
					early = append(early, kit.Message(numbered(1, seq, size/8).Data)...)
				}
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(early))...)
				p.Receive()
				got := make(ledger)
				for range 10 {
					got.enter(t, p.Receive())
				}
			}
		})
		t.Run("that is a part", func(t *testing.T) {
			for name, b := range map[string][]byte{
				"a frame":   kit.Message([]byte("whole")),
				"fragments": kit.Fragments(false, []byte("whole"), 2),
			} {
				for n := range len(b) {
					s, _ := server()
					p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(b[:n]))...)
					p.Receive()
					p.Write(b[n:])
					if got := p.Receive().String(); got != "whole" {
						t.Errorf("%s, %d bytes early: got %q, want the whole message", name, n, got)
					}
				}
			}
		})
		t.Run("with the close frame", func(t *testing.T) {
			s, e := server()
			early := slices.Concat(kit.Message([]byte("all")), hailtest.CloseFrame(4000, "that is all").Bytes())
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(early))...)
			for _, want := range []string{"welcome", "all"} {
				if got := p.Receive().String(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if got := p.WaitClose(); got.Code != 4000 {
				t.Errorf("close: got %v, want 4000", got)
			}
			kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), 4000, hail.CausePeerClosed, true)
		})
		t.Run("that breaks the protocol", func(t *testing.T) {
			s, e := server()
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData([]byte("GET / HTTP/1.1\r\n\r\n")))...)
			if got := p.WaitClose(); got.Code != hail.StatusProtocolError {
				t.Errorf("close: got %v, want 1002", got)
			}
			p.CloseWrite()
			kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusProtocolError, hail.CauseProtocol, false)
		})
	})
}

func TestStatsReceivedCountsOnlyWhatOnMessageGets(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{MessageRate: 1, MessageBurst: 1}}
	p := hailtest.Dial(t, s, "/")
	p.Write(slices.Repeat(kit.Message([]byte("m")), 2))
	kit.Await(t, "OnClose", e.Closed, kit.Ample)
	if got, want := s.Stats().Received, uint64(len(e.Msgs)); got != want {
		t.Errorf("Stats.Received: got %d, want the %d that were given to OnMessage", got, want)
	}
}

func TestStatsBytesInCountsEarlyData(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h}
	b := kit.Message([]byte("early"))
	hailtest.Dial(t, s, "/", hailtest.EarlyData(b))
	kit.Await(t, "OnMessage", e.Msgs, kit.Ample)
	if got, want := s.Stats().BytesIn, uint64(len(b)); got != want {
		t.Errorf("Stats.BytesIn: got %d, want %d", got, want)
	}
}
