package conformance_test

// permessage-deflate: offers and answers, and compressed messages (RFC 7692).

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

const offer = "permessage-deflate; client_max_window_bits"

var compression = hail.Options{Compression: true}

// deflated returns a text message whose payload is already compressed, split over frames.
func deflated(parts ...string) []hailtest.Frame {
	list := fragments(hailtest.OpText, parts...)
	list[0].RSV1 = true
	return list
}

// compress returns the payload of a compressed message.
func compress(data []byte) string { return string(kit.Deflate(data)) }

// The examples of section 7.2.3: "Hello".
const (
	hello        = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	helloShared  = "\xf2\x00\x11\x00\x00" // refers to the message before
	helloStored  = "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"
	helloFinal   = "\xf3\x48\xcd\xc9\xc9\x07\x00\x00" // in a block with BFINAL
	helloBlocks  = "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
	emptyMessage = "\x00"
)

func TestDeflateOffers(t *testing.T) {
	t.Parallel()
	const agreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	answers := func(t *testing.T, offers map[string]string) {
		t.Parallel()
		for offer, want := range offers {
			t.Run(offer, func(t *testing.T) {
				t.Parallel()
				server, _ := echo(compression)
				h := accepted(t, server, with("x", "Sec-WebSocket-Extensions: "+offer))
				got, present := h["Sec-Websocket-Extensions"]
				if present != (want != "") || present && !slices.Equal(got, []string{want}) {
					t.Errorf("got Sec-WebSocket-Extensions %q, want %q", got, want)
				}
			})
		}
	}
	shows(t, "7692 7 offers that can be honoured", func(t *testing.T) {
		answers(t, map[string]string{
			"permessage-deflate":                                                         agreed,
			"permessage-deflate; client_max_window_bits":                                 agreed,
			"permessage-deflate; server_no_context_takeover":                             agreed,
			"permessage-deflate; client_no_context_takeover":                             agreed,
			"permessage-deflate;client_no_context_takeover;server_no_context_takeover":   agreed,
			"permessage-deflate ; server_no_context_takeover ; client_max_window_bits=8": agreed,
		})
	})
	shows(t, "7692 7 offers that must be declined", func(t *testing.T) {
		answers(t, map[string]string{
			"permessage-deflate; unknown":   "",
			"permessage-deflate; unknown=1": "",
			"permessage-deflate; server_no_context_takeover; server_no_context_takeover": "",
			"permessage-deflate; client_no_context_takeover; client_no_context_takeover": "",
			"permessage-deflate; client_max_window_bits; client_max_window_bits":         "",
			"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15":   "",
			"permessage-deflate; server_no_context_takeover=1":                           "",
			`permessage-deflate; client_no_context_takeover="true"`:                      "",
		})
	})
	shows(t, "7692 5.1 preference", func(t *testing.T) {
		answers(t, map[string]string{
			"permessage-deflate; server_max_window_bits=15, permessage-deflate": agreed + "; server_max_window_bits=15",
			"permessage-deflate; server_max_window_bits=14, permessage-deflate": agreed,
			"permessage-deflate; server_max_window_bits=7, permessage-deflate":  agreed,
			"permessage-deflate; unknown, foo, permessage-deflate":              agreed,
			"foo; server_max_window_bits=15, permessage-deflate":                agreed,
			"permessage-foo, x-webkit-deflate-frame":                            "",
		})
	})
	shows(t, "7692 7.1.2.1 server_max_window_bits", func(t *testing.T) {
		offers := make(map[string]string)
		for bits := 0; bits <= 17; bits++ {
			for _, format := range []string{"%d", `"%d"`} {
				want := ""
				if bits == 15 {
					want = agreed + "; server_max_window_bits=15"
				}
				offers[fmt.Sprintf("permessage-deflate; server_max_window_bits="+format, bits)] = want
			}
		}
		for _, wrong := range []string{"", "=08", "=+9", "=-9", "=0x9", "=9.0", "=nine", "=18446744073709551625"} {
			offers["permessage-deflate; server_max_window_bits"+wrong] = ""
		}
		answers(t, offers)
	})
	shows(t, "7692 7.1.2.2 client_max_window_bits", func(t *testing.T) {
		offers := make(map[string]string)
		for bits := 0; bits <= 17; bits++ {
			want := ""
			if bits >= 8 && bits <= 15 {
				want = agreed
			}
			offers[fmt.Sprintf("permessage-deflate; client_max_window_bits=%d", bits)] = want
		}
		for _, wrong := range []string{"=08", "=+9", "=0x9", "=true"} {
			offers["permessage-deflate; client_max_window_bits"+wrong] = ""
		}
		answers(t, offers)
	})
	shows(t, "7692 5 no offer, no answer", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(compression)
		if got, present := accepted(t, server, with("x"))["Sec-Websocket-Extensions"]; present {
			t.Errorf("got Sec-WebSocket-Extensions %q, want none", got)
		}
	})
}

func TestDeflateMessages(t *testing.T) {
	t.Parallel()
	plays := func(t *testing.T, list map[string]script) {
		t.Parallel()
		for name, s := range list {
			s.opts, s.offer = compression, offer
			t.Run(name, s.play)
		}
	}
	said := func(messages ...string) (want []string) {
		for _, m := range messages {
			want = append(want, fmt.Sprintf("text %q", m))
		}
		return append(want, closed)
	}
	send := func(list ...[]hailtest.Frame) []byte { return frames(append(slices.Concat(list...), bye)...) }

	shows(t, "7692 7.2.2 messages of every shape", func(t *testing.T) {
		plays(t, map[string]script{
			"one block":           {send: send(deflated(hello)), want: said("Hello")},
			"not compressed":      {send: send(deflated(helloStored)), want: said("Hello")},
			"two blocks":          {send: send(deflated(helloBlocks)), want: said("Hello")},
			"empty":               {send: send(deflated(emptyMessage)), want: said("")},
			"fragments":           {send: send(deflated("\xf2\x48\xcd", "\xc9\xc9\x07\x00")), want: said("Hello")},
			"empty fragments":     {send: send(deflated("", hello, "", "")), want: said("Hello")},
			"beside plain ones":   {send: send([]hailtest.Frame{text("plain")}, deflated(hello), []hailtest.Frame{text("plain")}), want: said("plain", "Hello", "plain")},
			"stored, over frames": {send: send(deflated("\x00\x05\x00", "\xfa\xff\x48\x65", "\x6c\x6c\x6f\x00")), want: said("Hello")},
			"dynamic block":       {send: send(deflated(compress([]byte(strings.Repeat("abcdefgh", 8))))), want: said(strings.Repeat("abcdefgh", 8))},
			"BFINAL":              {send: send(deflated(helloFinal), deflated(hello), deflated(helloFinal), deflated(hello)), want: said("Hello", "Hello", "Hello", "Hello")},
			"BFINAL, fragments":   {send: send(deflated(helloFinal[:5], helloFinal[5:]), deflated(hello)), want: said("Hello", "Hello")},
			"BFINAL at the end":   {send: send(deflated(hello[:6] + "\x00\x00\x00\xff\xff\x01")), want: said("Hello")},
			"BFINAL twice":        {send: send(deflated(helloFinal[:7]+helloFinal), deflated(hello)), want: said("HelloHello", "Hello")},
			"BFINAL and others":   {send: send(deflated(helloFinal[:7]+helloStored), deflated(hello)), want: said("HelloHello", "Hello")},
			"BFINAL, then back":   {send: send(deflated(helloFinal[:7] + helloShared)), want: said("HelloHello")},
			"BFINAL and no more":  {send: send(deflated(helloFinal[:7]), deflated(hello)), want: said("Hello", "Hello")},
			"ping in between":     {send: frames(deflated(hello[:3], "")[0], control(hailtest.OpPing, "p"), fragments(0, hello[3:])[0], bye), want: append([]string{`pong "p"`}, said("Hello")...)},
			// By the RFC's algorithm it is whole only with the appended tail.
			"the tail is data":     {send: send(deflated("\x00\x01\x00\xfe\xff" + "a" + "\x00\x04\x00\xfb\xff")), want: []string{closeUTF8}, cause: hail.CauseProtocol},
			"character in parts":   {send: send(deflated(compress([]byte("\u4f60\u597d"))[:4], compress([]byte("\u4f60\u597d"))[4:])), want: said("\u4f60\u597d")},
			"no context from last": {send: send(deflated(hello), deflated(helloShared), deflated(hello)), want: []string{`text "Hello"`, closeDeflate}, cause: hail.CauseProtocol},
		})
	})
	shows(t, "7692 7.2.2 messages that do not inflate", func(t *testing.T) {
		list := map[string]script{}
		broken := func(parts ...string) script {
			f := deflated(parts...)
			f[0].Opcode = hailtest.OpBinary
			return script{send: send(f, deflated(hello)), want: []string{closeDeflate}, cause: hail.CauseProtocol}
		}
		for name, payload := range map[string]string{
			"nothing":                        "",
			"reserved block type":            "\x06\x00",
			"lengths that differ":            "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00",
			"too far back":                   "\xf2\x48\x02\x20\x00\x00",
			"garbage":                        "garbage",
			"garbage after the end":          hello + "x",
			"zeros after the end":            hello + "\x00\x00",
			"garbage after BFINAL":           helloFinal[:7] + "garbage",
			"zeros after BFINAL":             helloFinal + "\x00",
			"tail that should be cut":        hello + "\x00\x00\xff",
			"BFINAL that takes the tail":     "\x01\x02\x00\xfd\xff",
			"stored block that takes more":   "\x00\x0a\x00\xf5\xff\x48\x65\x6c\x6c\x6f",
			"BFINAL that takes all":          "\x01\x0e\x00\xf1\xff\x48\x65\x6c\x6c\x6f",
			"stored block that takes all":    "\x00\x0e\x00\xf1\xff\x48\x65\x6c\x6c\x6f",
			"stored block that is all there": "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f",
		} {
			list[name] = broken(payload)
		}
		for name, whole := range map[string]string{"one block": hello, "stored": helloStored, "two blocks": helloBlocks,
			"dynamic": compress([]byte("the quick brown fox jumps over the lazy dog"))} {
			for n := range len(whole) {
				if name == "two blocks" && n == 4 || name == "stored" && (n == 1 || n == 6) {
					continue // with the four appended bytes it is whole
				}
				list[fmt.Sprintf("%s, cut at %d", name, n)] = broken(whole[:n])
				list[fmt.Sprintf("%s, cut at %d, fragments", name, n)] = broken(whole[:n], "")
			}
		}
		plays(t, list)
	})
	shows(t, "8.1 compressed text that is not UTF-8", func(t *testing.T) {
		plays(t, map[string]script{
			"whole":     {send: send(deflated(compress([]byte("a\xff")))), want: []string{closeUTF8}, cause: hail.CauseProtocol},
			"unended":   {send: send(deflated(compress([]byte("a\xe4\xbd")))), want: []string{closeUTF8}, cause: hail.CauseProtocol},
			"fragments": {send: send(deflated(compress([]byte("a\xff"))[:2], compress([]byte("a\xff"))[2:])), want: []string{closeUTF8}, cause: hail.CauseProtocol},
		})
	})
	shows(t, "7692 6 control frames are not compressed", func(t *testing.T) {
		long := strings.Repeat("x", 125)
		script{opts: compression, offer: offer,
			send: frames(append(deflated(hello), control(hailtest.OpPing, long), closeWith("\x03\xe8"+long[2:]))...),
			want: []string{`text "Hello"`, show(control(hailtest.OpPong, long)), closed}}.play(t) // readFrame refuses a control frame with RSV1
	})
	shows(t, "7692 6 RSV1 that is illegal", func(t *testing.T) {
		rsv1 := func(f hailtest.Frame) hailtest.Frame { f.RSV1 = true; return f }
		refuses := func(list ...hailtest.Frame) script {
			return script{send: frames(append(list, text("never"), bye)...), want: []string{closeProtocol}, cause: hail.CauseProtocol}
		}
		plays(t, map[string]script{
			"ping":                        refuses(rsv1(control(hailtest.OpPing, hello))),
			"pong":                        refuses(rsv1(control(hailtest.OpPong, hello))),
			"close":                       refuses(rsv1(bye)),
			"continuation of nothing":     refuses(rsv1(fragments(hailtest.OpContinuation, hello)[0])),
			"continuation of compressed":  refuses(deflated(hello[:3], hello[3:])[0], rsv1(fragments(hailtest.OpContinuation, hello[3:])[0])),
			"continuation of plain":       refuses(fragments(hailtest.OpText, "a", "b")[0], rsv1(fragments(hailtest.OpContinuation, hello)[0])),
			"text among fragments":        refuses(fragments(hailtest.OpText, "a", "b")[0], rsv1(text(hello))),
			"text among compressed":       refuses(deflated(hello[:3], "")[0], rsv1(text(hello))),
			"ping among compressed":       refuses(deflated(hello[:3], "")[0], rsv1(control(hailtest.OpPing, ""))),
			"reserved opcode, compressed": refuses(rsv1(hailtest.Frame{Fin: true, Opcode: 3})),
			"unmasked":                    refuses(rsv1(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(hello), Unmasked: true})),
		})
	})
	shows(t, "7692 5 RSV1 that was not negotiated", func(t *testing.T) {
		t.Parallel()
		for name, s := range map[string]script{
			"off":         {offer: offer},
			"not offered": {opts: compression},
			"declined":    {opts: compression, offer: "permessage-deflate; unknown"},
		} {
			s.send, s.want, s.cause = send(deflated(hello)), []string{closeProtocol}, hail.CauseProtocol
			t.Run(name, s.play)
		}
	})
	shows(t, "7692 7.2.2 fragments split at every byte", func(t *testing.T) {
		message := strings.Repeat("the quick brown fox ", 5) + "\u4f60\u597d"
		payload := compress([]byte(message))
		var all []hailtest.Frame
		var want []string
		for i := range len(payload) + 1 {
			all = append(all, deflated(payload[:i], payload[i:])...)
			want = append(want, show(text(message)))
		}
		script{opts: compression, offer: offer, send: frames(append(all, bye)...), want: append(want, closed)}.play(t)
	})
}

func TestDeflateAnswers(t *testing.T) {
	t.Parallel()
	// talk echoes a message and returns the server's frames, except the close.
	talk := func(t *testing.T, offer string, messages ...[]byte) (list []hailtest.Frame) {
		t.Helper()
		ends := make(chan struct{}, 1)
		server := &hail.Server{Options: hail.Options{Compression: true, ReadLimit: 1 << 20}, Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { return nil }, OnMessage: hail.Echo,
			OnClose: func(*hail.Conn, hail.CloseInfo) { ends <- struct{}{} },
		}}
		p := hailtest.Dial(t, server, "/", hailtest.Raw(), hailtest.Header("Sec-WebSocket-Extensions", offer))
		for _, m := range messages {
			p.Write(bin(m).Bytes())
			f := p.ReadFrame()
			data := f.Payload
			if f.RSV1 {
				data = kit.Inflated(t, data)
			}
			if !bytes.Equal(data, m) {
				t.Errorf("echo of %d bytes: got %d other bytes", len(m), len(data))
			}
			list = append(list, f)
		}
		return list
	}
	shows(t, "7692 7.1.1.1 no context taken over", func(t *testing.T) {
		t.Parallel()
		m := kit.Noise(2000)
		m = append(m, m...)
		list := talk(t, "permessage-deflate; server_no_context_takeover", m, m)
		if !list[0].RSV1 || !bytes.Equal(list[0].Payload, list[1].Payload) {
			t.Errorf("got %v and then %v, want the same compressed payload twice", list[0], list[1])
		}
	})
	shows(t, "7692 7.1.2.1 nothing is compressed for a smaller window", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(compression)
		server.OnConnect = func(c *hail.Conn, _ *http.Request) error { return c.Subscribe("topic") }
		m := bytes.Repeat(kit.Noise(64), 60_000/64)
		for bits := 8; bits <= 15; bits++ {
			// The echo also says that OnConnect has returned.
			p := hailtest.Dial(t, server, "/", hailtest.Raw(),
				hailtest.Header("Sec-WebSocket-Extensions", fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits)))
			p.Write(bin(m).Bytes())
			echoed := p.ReadFrame()
			if err := server.Publish("topic", hail.Binary(m)); err != nil {
				t.Fatal(err)
			}
			for how, f := range map[string]hailtest.Frame{"sent": echoed, "published": p.ReadFrame()} {
				if want := bits == 15; f.RSV1 != want {
					t.Errorf("window of %d bits, %s: compressed is %v, want %v", bits, how, f.RSV1, want)
				}
				if f.RSV1 {
					f.Payload = kit.Inflated(t, f.Payload)
				}
				if !bytes.Equal(f.Payload, m) {
					t.Errorf("window of %d bits, %s: got %d bytes, or others than the %d sent", bits, how, len(f.Payload), len(m))
				}
			}
		}
	})
	shows(t, "7692 7.2.1 the tail is cut off", func(t *testing.T) {
		t.Parallel()
		for _, m := range [][]byte{bytes.Repeat([]byte("a"), 1<<10), bytes.Repeat([]byte("abc"), 50_000)} {
			if f := talk(t, offer, m)[0]; !f.RSV1 || bytes.HasSuffix(f.Payload, []byte("\x00\x00\xff\xff")) {
				t.Errorf("message of %d bytes: got %v with tail % x, want it compressed and without 00 00 ff ff", len(m), f, f.Payload[max(0, len(f.Payload)-8):])
			}
		}
	})
}
