package hailtest_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail"
	"example.com/hail/hailtest"
	"github.com/coder/websocket"
)

// frame returns an unmasked frame, as a server sends it.
func frame(op hailtest.Opcode, payload string) hailtest.Frame {
	return hailtest.Frame{Fin: true, Opcode: op, Payload: []byte(payload), Unmasked: true}
}

// sends returns a handler that sends the frames, then reads until the client closes or is gone.
func sends(header string, frames ...hailtest.Frame) http.Handler {
	return hijack(header, func(conn net.Conn, br *bufio.Reader) {
		for _, f := range frames {
			conn.Write(f.Bytes())
		}
		io.Copy(io.Discard, br)
	})
}

func TestPeerAnswers(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		got := make(chan error, 1)
		h := serve(func(r *http.Request, c *websocket.Conn) {
			ctx := c.CloseRead(r.Context())
			err := c.Ping(ctx)
			if err == nil {
				err = c.Close(4001, "enough")
			}
			got <- err
		})
		p := hailtest.Dial(t, h, "/", opts...)
		if got, want := p.WaitClose(), (hail.CloseError{Code: 4001, Reason: "enough"}); got != want {
			t.Errorf("WaitClose: got %v, want %v", got, want)
		}
		if err := <-got; err != nil {
			t.Errorf("the server's ping and close: got error %v", err)
		}
	})
}

// TestPeerAnswersNeverHoldUpReading has a server read only after it has sent more pings than the pipe has
// room for pongs.
func TestPeerAnswersNeverHoldUpReading(t *testing.T) {
	t.Parallel()
	const pings = 1000
	answers := make(chan []string, 1)
	h := hijack("", func(conn net.Conn, br *bufio.Reader) {
		for i := range pings {
			conn.Write(frame(hailtest.OpPing, fmt.Sprintf("%0100d", i)).Bytes())
		}
		conn.Write(frame(hailtest.OpClose, "\x03\xe8").Bytes())
		var got []string
		for len(got) == 0 || got[len(got)-1] != "close \x03\xe8" {
			op, payload, err := readClientFrame(br)
			if err != nil {
				break
			}
			got = append(got, fmt.Sprint(op, " ", payload))
		}
		answers <- got
	})
	p := hailtest.Dial(t, h, "/", hailtest.BufferSize(1000))
	if got := p.WaitClose(); got.Code != 1000 {
		t.Errorf("WaitClose: got %v, want code 1000", got)
	}
	got := <-answers
	if n := len(got); n < 2 || n > pings || !slices.IsSorted(got[:n-1]) || got[n-1] != "close \x03\xe8" {
		t.Errorf("got answers %q, want pongs in order and the close", got)
	}
}

// readClientFrame reads one short masked frame.
func readClientFrame(br *bufio.Reader) (op hailtest.Opcode, payload string, err error) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(br, head); err != nil {
		return 0, "", err
	}
	if head[1]&0x80 == 0 {
		return 0, "", errors.New("not masked")
	}
	b := make([]byte, head[1]&0x7f)
	_, err = io.ReadFull(br, b)
	for i := range b {
		b[i] ^= head[2+i%4]
	}
	return hailtest.Opcode(head[0] & 0x0f), string(b), err
}

func TestPeerReceive(t *testing.T) {
	t.Parallel()
	fragment := func(op hailtest.Opcode, payload string) hailtest.Frame {
		return hailtest.Frame{Opcode: op, Payload: []byte(payload), Unmasked: true}
	}
	h := sends("",
		frame(hailtest.OpText, "whole"),
		fragment(hailtest.OpText, "fr"), frame(hailtest.OpPing, "between"), fragment(0, ""), frame(0, "ag"),
		fragment(hailtest.OpBinary, "\xff"), frame(0, "\xfe"),
		frame(hailtest.OpPong, "unasked"),
		frame(hailtest.OpText, strings.Repeat("x", 70_000)),
		frame(hailtest.OpClose, "\x03\xe8"),
	)
	p := hailtest.Dial(t, h, "/")
	for _, want := range []hail.Message{
		hail.Text("whole"), hail.Text("frag"), hail.Binary([]byte{0xff, 0xfe}), hail.Text(strings.Repeat("x", 70_000)),
	} {
		if got := p.Receive(); got.Type != want.Type || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("got %v %q, want %v %q", got.Type, got.Data, want.Type, want.Data)
		}
	}
}

func TestPeerReceiveFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		h    http.Handler
		want string
	}{
		"nothing comes": {sends(""), "hailtest: Receive: got nothing for 10s, want a message"},
		"close":         {sends("", frame(hailtest.OpClose, "\x03\xe9bye")), `hailtest: Receive: got a close frame with code 1001 and reason "bye", but the connection is open, want a message`},
		"EOF":           {hijack("", nil), "hailtest: Receive: the connection ended without a close frame: EOF, want a message"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := failures(func(tb hailtest.TB) { hailtest.Dial(tb, test.h, "/").Receive() })
				if len(got) != 1 || got[0] != test.want {
					t.Errorf("got failures %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestPeerSeesViolations has a server break the protocol in each way: a test that only closes, or does
// nothing, must fail.
func TestPeerSeesViolations(t *testing.T) {
	t.Parallel()
	text := frame(hailtest.OpText, "hi")
	with := func(change func(*hailtest.Frame)) hailtest.Frame {
		f := text
		change(&f)
		return f
	}
	const deflated = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	for name, test := range map[string]struct {
		header string
		frames []hailtest.Frame
		want   string
	}{
		"mask":                     {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.Unmasked = false })}, "a masked frame"},
		"RSV1":                     {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.RSV1 = true })}, "a reserved bit: text FIN RSV1"},
		"RSV2":                     {deflated, []hailtest.Frame{with(func(f *hailtest.Frame) { f.RSV2 = true })}, "a reserved bit: text FIN RSV2"},
		"RSV3":                     {deflated, []hailtest.Frame{with(func(f *hailtest.Frame) { f.RSV3 = true })}, "a reserved bit: text FIN RSV3"},
		"RSV1 on a fragment":       {deflated, []hailtest.Frame{with(func(f *hailtest.Frame) { f.Fin = false }), with(func(f *hailtest.Frame) { f.RSV1, f.Opcode = true, 0 })}, "a reserved bit: continuation FIN RSV1"},
		"RSV1 on a ping":           {deflated, []hailtest.Frame{with(func(f *hailtest.Frame) { f.RSV1, f.Opcode = true, hailtest.OpPing })}, "a reserved bit: ping FIN RSV1"},
		"not deflate":              {deflated, []hailtest.Frame{with(func(f *hailtest.Frame) { f.RSV1, f.Payload = true, []byte("\xff\xff") })}, "does not inflate"},
		"length in 2 bytes":        {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.LengthSize = 2 })}, "length 2 in 2 bytes"},
		"length in 8 bytes":        {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.LengthSize = 8 })}, "length 2 in 8 bytes"},
		"top bit of the length":    {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.Length = 1 << 63 })}, "length 9223372036854775808 in 8 bytes"},
		"opcode":                   {"", []hailtest.Frame{frame(3, "")}, "a reserved opcode: opcode 0x3 FIN"},
		"control opcode":           {"", []hailtest.Frame{frame(11, "")}, "a reserved opcode: opcode 0xb FIN"},
		"fragmented ping":          {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.Fin, f.Opcode = false, hailtest.OpPing })}, "a control frame that is fragmented"},
		"long ping":                {"", []hailtest.Frame{frame(hailtest.OpPing, zeros(126))}, "a control frame that is fragmented or too long"},
		"continuation of nothing":  {"", []hailtest.Frame{frame(0, "")}, "a fragment out of place"},
		"message within a message": {"", []hailtest.Frame{with(func(f *hailtest.Frame) { f.Fin = false }), text}, "a fragment out of place"},
		"text that is not UTF-8":   {"", []hailtest.Frame{frame(hailtest.OpText, "\xff")}, "a text message that is not UTF-8"},
		"close of one byte":        {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03")}, "an illegal close frame"},
		"close code 1005":          {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xed")}, "an illegal close frame"},
		"close code 1004":          {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xec")}, "an illegal close frame"},
		"close code 999":           {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xe7")}, "an illegal close frame"},
		"close code 2000":          {"", []hailtest.Frame{frame(hailtest.OpClose, "\x07\xd0")}, "an illegal close frame"},
		"reason that is not UTF-8": {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xe8\xff")}, "an illegal close frame"},
		"message after the close":  {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xe8"), text}, "a frame after the close frame"},
		"another close":            {"", []hailtest.Frame{frame(hailtest.OpClose, "\x03\xe8"), frame(hailtest.OpClose, "\x03\xe8")}, "a frame after the close frame"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for method, use := range map[string]func(p *hailtest.Peer){
					"WaitClose": func(p *hailtest.Peer) { p.WaitClose() },
					"nothing":   func(p *hailtest.Peer) { synctest.Wait() },
				} {
					got := failures(func(tb hailtest.TB) {
						use(hailtest.Dial(tb, sends(test.header, test.frames...), "/", hailtest.Compression()))
					})
					if len(got) == 0 || !strings.Contains(got[0], "the server broke the protocol: ") || !strings.Contains(got[0], test.want) {
						t.Errorf("%s: got failures %q, want one with %q", method, got, test.want)
					}
				}
			})
		})
	}
}

func TestPeerCompression(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("all the same, ", 100)
	for header, takeover := range map[string]bool{
		"permessage-deflate": true,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15": false,
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			w, _ := flate.NewWriter(&buf, 9)
			var frames []hailtest.Frame
			for range 3 {
				if !takeover {
					w.Reset(&buf)
				}
				w.Write([]byte(data))
				w.Flush()
				f := frame(hailtest.OpText, strings.TrimSuffix(buf.String(), "\x00\x00\xff\xff"))
				f.RSV1 = true
				buf.Reset()
				// Fragmented: only the first frame has RSV1.
				first, rest := f, f
				first.Fin, first.Payload = false, f.Payload[:5]
				rest.RSV1, rest.Opcode, rest.Payload = false, hailtest.OpContinuation, f.Payload[5:]
				frames = append(frames, first, rest)
			}
			frames = append(frames, frame(hailtest.OpText, "plain"))
			p := hailtest.Dial(t, sends("Sec-WebSocket-Extensions: "+header+"\r\n", frames...), "/", hailtest.Compression())
			for _, want := range []string{data, data, data, "plain"} {
				if got := p.Receive(); got.String() != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// TestPeerSeesForbiddenTakeover has a server refer to an earlier message although it said it would not.
func TestPeerSeesForbiddenTakeover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		w, _ := flate.NewWriter(&buf, 9)
		var frames []hailtest.Frame
		for range 2 {
			w.Write([]byte("a sentence that comes twice"))
			w.Flush()
			f := frame(hailtest.OpText, strings.TrimSuffix(buf.String(), "\x00\x00\xff\xff"))
			f.RSV1 = true
			frames = append(frames, f)
			buf.Reset()
		}
		h := sends("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", frames...)
		got := failures(func(tb hailtest.TB) { hailtest.Dial(tb, h, "/", hailtest.Compression()).WaitClose() })
		if len(got) == 0 || !strings.Contains(got[0], "does not inflate") {
			t.Errorf("got failures %q, want one about the second message", got)
		}
	})
}

func TestPeerSendCompresses(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"permessage-deflate":                            true,
		"permessage-deflate; client_max_window_bits=15": true,
		// A window that compress/flate has no setting for.
		"permessage-deflate; client_max_window_bits=9": false,
	} {
		first := make(chan byte, 1)
		h := hijack("Sec-WebSocket-Extensions: "+header+"\r\n", func(conn net.Conn, br *bufio.Reader) {
			b, _ := br.ReadByte()
			first <- b
			io.Copy(io.Discard, br)
		})
		hailtest.Dial(t, h, "/", hailtest.Compression()).Send(hail.Text(zeros(100)))
		if got := <-first&0x40 != 0; got != want {
			t.Errorf("%s: got RSV1 %t, want %t", header, got, want)
		}
	}
}

func TestPeerWrite(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		p := hailtest.Dial(t, echo, "/", opts...)
		hi := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("hi")}
		ho := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("ho")}
		both := slices.Concat(hi.Bytes(), ho.Bytes())
		p.Write(both)
		p.WriteSplit(both, 1)
		p.WriteSplit(both, 3, 5, 100)
		p.WriteSplit(both)
		for i := range 8 {
			if got, want := p.Receive().String(), []string{"hi", "ho"}[i%2]; got != want {
				t.Errorf("message %d: got %q, want %q", i, got, want)
			}
		}
	})
}

func TestPeerWriteSplitIsReadPieceByPiece(t *testing.T) {
	t.Parallel()
	read := make(chan string, 1)
	h := hijack("", func(conn net.Conn, br *bufio.Reader) {
		var pieces []string
		b := make([]byte, 100)
		for range 4 {
			n, _ := conn.Read(b)
			pieces = append(pieces, string(b[:n]))
		}
		read <- strings.Join(pieces, "|")
	})
	hailtest.Dial(t, h, "/").WriteSplit([]byte("abcdefgh"), 1, 3, 2)
	if got, want := <-read, "a|bcd|ef|gh"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPeerWriteFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		deaf := serve(func(r *http.Request, c *websocket.Conn) { <-release })
		gone := hijack("", nil)
		const unread = "the server has not read it within 10s (option Timeout)"
		for name, test := range map[string]struct {
			h    http.Handler
			use  func(p *hailtest.Peer)
			want []string
		}{
			"Write":             {deaf, func(p *hailtest.Peer) { p.Write(make([]byte, 20_000)) }, []string{"hailtest: Write ", unread}},
			"Send":              {deaf, func(p *hailtest.Peer) { p.Send(hail.Binary(make([]byte, 20_000))) }, []string{"hailtest: Send ", unread}},
			"Close":             {deaf, func(p *hailtest.Peer) { p.NetConn().Write(make([]byte, 4096)); p.Close(1000, "") }, []string{"hailtest: Close: " + unread}},
			"WriteSplit":        {deaf, func(p *hailtest.Peer) { p.WriteSplit(make([]byte, 5), 1) }, []string{"hailtest: WriteSplit: the server has read no more for 10s"}},
			"WriteSplit of 0":   {deaf, func(p *hailtest.Peer) { p.WriteSplit(make([]byte, 5), 1, 0) }, []string{"hailtest: WriteSplit: got sizes [1 0], want them above 0"}},
			"Write, gone":       {gone, func(p *hailtest.Peer) { synctest.Wait(); p.Write([]byte("lost")); p.WriteSplit([]byte("lost"), 1) }, nil},
			"Send, gone":        {gone, func(p *hailtest.Peer) { synctest.Wait(); p.Send(hail.Text("lost")) }, []string{`hailtest: Send "lost": the connection ended without a close frame: EOF`}},
			"Send, vanished":    {deaf, func(p *hailtest.Peer) { p.Vanish(); p.Send(hail.Text("")) }, []string{`hailtest: Send "": the peer has vanished`}},
			"Write, vanished":   {deaf, func(p *hailtest.Peer) { p.Vanish(); p.Write(nil) }, []string{`hailtest: Write "": the peer has vanished`}},
			"Close, open after": {sends("", frame(hailtest.OpClose, "\x03\xe8")), func(p *hailtest.Peer) { p.Close(1000, "") }, []string{`hailtest: WaitClose: got a close frame with code 1000 and reason "", but the connection is open, want the connection closed`}},
			"ReadFrame":         {deaf, func(p *hailtest.Peer) { p.ReadFrame() }, []string{"hailtest: ReadFrame needs a peer with the option Raw"}},
			"ReadSlowly of 0":   {deaf, func(p *hailtest.Peer) { p.ReadSlowly(0, 1) }, []string{"hailtest: ReadSlowly: got 0 bytes every 1ns, want at least 1 byte"}},
		} {
			got := failures(func(tb hailtest.TB) { test.use(hailtest.Dial(tb, test.h, "/", hailtest.BufferSize(4096))) })
			// The handler that does not read stays; that is not tested here.
			got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "the handler has not returned") })
			if test.want == nil && len(got) == 0 {
				continue
			}
			if len(got) != 1 || slices.ContainsFunc(test.want, func(want string) bool { return !strings.Contains(got[0], want) }) {
				t.Errorf("%s: got failures %q, want %q", name, got, test.want)
			}
		}
	})
}
