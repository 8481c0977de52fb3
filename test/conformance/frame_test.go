package conformance_test

// Frames one by one: their bits, opcodes, masks and lengths (RFC 6455 section 5).

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// readFrame reads a server's frame. It fails on a frame that no server may send, whatever was negotiated.
func readFrame(r *bufio.Reader) (f hailtest.Frame, err error) {
	head, err := r.Peek(2)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return f, err
	}
	f = hailtest.Frame{Fin: head[0]&0x80 != 0, RSV1: head[0]&0x40 != 0, RSV2: head[0]&0x20 != 0, RSV3: head[0]&0x10 != 0,
		Opcode: hailtest.Opcode(head[0] & 0x0F)}
	length, size, least := uint64(head[1]), 2, uint64(0)
	switch head[1] {
	case 126:
		size, least = 4, 126
	case 127:
		size, least = 10, 1<<16
	}
	head, err = r.Peek(size)
	if err != nil {
		return f, io.ErrUnexpectedEOF
	}
	switch size {
	case 4:
		length = uint64(binary.BigEndian.Uint16(head[2:]))
	case 10:
		length = binary.BigEndian.Uint64(head[2:])
	}
	r.Discard(size)
	control := f.Opcode >= hailtest.OpClose
	switch {
	case head[1]&0x80 != 0:
		return f, fmt.Errorf("masked frame: %v", f)
	case length < least || length > 1<<24:
		return f, fmt.Errorf("length %d in %d bytes", length, size)
	case control && (length > 125 || !f.Fin || f.RSV1):
		return f, fmt.Errorf("control frame of %d bytes: %v", length, f)
	case f.Opcode > hailtest.OpBinary && !control || f.Opcode > hailtest.OpPong || f.RSV2 || f.RSV3:
		return f, fmt.Errorf("reserved opcode or bit: %v", f)
	}
	f.Payload = make([]byte, length)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, io.ErrUnexpectedEOF
	}
	return f, nil
}

// violates is a script whose last frames before the close break the protocol.
func violates(before []string, list ...hailtest.Frame) script {
	return script{
		send:  frames(append(list, text("never"), control(hailtest.OpPing, "never"), bye)...),
		want:  append(slices.Clone(before), closeProtocol),
		cause: hail.CauseProtocol,
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	first := text("first")
	echoed := []string{`text "first"`}
	shows(t, "5.2 reserved bits", func(t *testing.T) {
		t.Parallel()
		for bits := 1; bits < 8; bits++ {
			for _, op := range []hailtest.Opcode{hailtest.OpText, hailtest.OpBinary, hailtest.OpClose, hailtest.OpPing, hailtest.OpPong} {
				f := control(op, "")
				f.RSV1, f.RSV2, f.RSV3 = bits&1 != 0, bits&2 != 0, bits&4 != 0
				t.Run(f.String(), violates(echoed, first, f).play)
				c := f
				c.Opcode = hailtest.OpContinuation
				after := violates(nil, fragments(hailtest.OpText, "a", "b")[0], c)
				t.Run(c.String()+" after "+op.String(), after.play)
				if bits > 1 { // RSV1 is permessage-deflate's
					s := violates(echoed, first, f)
					s.opts, s.offer = compression, offer
					t.Run(f.String()+" with permessage-deflate", s.play)
					after.opts, after.offer = compression, offer
					t.Run(c.String()+" after "+op.String()+" with permessage-deflate", after.play)
				}
			}
		}
	})
	shows(t, "5.2 unknown opcodes", func(t *testing.T) {
		t.Parallel()
		for _, op := range []hailtest.Opcode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
			for _, payload := range []string{"", "payload"} {
				f := control(op, payload)
				t.Run(f.String(), violates(echoed, first, f).play)
				t.Run(f.String()+" among fragments", violates(nil, fragments(hailtest.OpText, "a", "b")[0], f).play)
				f.Fin = false
				t.Run(f.String()+" not final", violates(echoed, first, f).play)
			}
		}
	})
	shows(t, "5.1 unmasked frames", func(t *testing.T) {
		t.Parallel()
		for _, op := range []hailtest.Opcode{hailtest.OpText, hailtest.OpBinary, hailtest.OpClose, hailtest.OpPing, hailtest.OpPong} {
			for _, payload := range []string{"", "\x03\xe8payload"} {
				f := control(op, payload)
				f.Unmasked = true
				t.Run(f.String(), violates(echoed, first, f).play)
				if op >= hailtest.OpClose {
					t.Run(f.String()+" among fragments", violates(nil, fragments(hailtest.OpText, "a", "b")[0], f).play)
				}
			}
		}
		f := fragments(hailtest.OpText, "a", "b")
		f[1].Unmasked = true
		t.Run("second fragment", violates(nil, f...).play)
	})
	shows(t, "5.3 masking keys", func(t *testing.T) {
		for name, key := range map[string][4]byte{"one byte": {1, 0, 0, 0}, "last byte": {0, 0, 0, 1}, "all": {255, 255, 255, 255}, "some": {0x37, 0xFA, 0x21, 0x3D}} {
			t.Run(name, func(t *testing.T) {
				s := script{}
				for size := range 40 {
					payload := strings.Repeat("0123456789", 4)[:size]
					s.send = append(s.send, frames(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Key: key, Payload: []byte(payload)},
						hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Key: key, Payload: []byte(payload)})...)
					s.want = append(s.want, fmt.Sprintf("text %q", payload), fmt.Sprintf("pong %q", payload))
				}
				s.send, s.want = append(s.send, bye.Bytes()...), append(s.want, closed)
				s.play(t)
			})
		}
		t.Run("zero", script{send: append([]byte("\x81\x85\x00\x00\x00\x00hello"), bye.Bytes()...), want: []string{`text "hello"`, closed}}.play)
		// The example of section 5.7.
		t.Run("example", script{send: append([]byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), bye.Bytes()...), want: []string{`text "Hello"`, closed}}.play)
	})
}

func TestFragments(t *testing.T) {
	t.Parallel()
	plays := func(t *testing.T, list map[string]script) {
		t.Parallel()
		for name, s := range list {
			t.Run(name, s.play)
		}
	}
	send := func(list ...[]hailtest.Frame) []byte { return frames(append(slices.Concat(list...), bye)...) }
	ping := []hailtest.Frame{control(hailtest.OpPing, "in between")}
	pong := []hailtest.Frame{control(hailtest.OpPong, "in between")}
	part := fragments(hailtest.OpText, "a", "b")
	shows(t, "5.4 fragmented messages", func(t *testing.T) {
		plays(t, map[string]script{
			"two":            {send: send(fragments(hailtest.OpText, "Hel", "lo")), want: []string{`text "Hello"`, closed}},
			"binary":         {send: send(fragments(hailtest.OpBinary, "\xff", "\xfe")), want: []string{`binary "\xff\xfe"`, closed}},
			"many":           {send: send(fragments(hailtest.OpText, strings.Split(strings.Repeat("x", 50), "")...)), want: []string{show(text(strings.Repeat("x", 50))), closed}},
			"empty":          {send: send(fragments(hailtest.OpText, "", "", "")), want: []string{`text ""`, closed}},
			"empty first":    {send: send(fragments(hailtest.OpText, "", "a")), want: []string{`text "a"`, closed}},
			"empty last":     {send: send(fragments(hailtest.OpText, "a", "")), want: []string{`text "a"`, closed}},
			"empty between":  {send: send(fragments(hailtest.OpBinary, "a", "", "b")), want: []string{`binary "ab"`, closed}},
			"two messages":   {send: send(fragments(hailtest.OpText, "a", "b"), fragments(hailtest.OpBinary, "c", "d")), want: []string{`text "ab"`, `binary "cd"`, closed}},
			"between others": {send: send([]hailtest.Frame{text("a")}, fragments(hailtest.OpText, "b", "c"), []hailtest.Frame{bin([]byte("d"))}), want: []string{`text "a"`, `text "bc"`, `binary "d"`, closed}},
			"large": {send: send(fragments(hailtest.OpBinary, strings.Repeat("x", 5000), strings.Repeat("y", 30000), "z")),
				want: []string{"binary of 35001 bytes", closed}},
		})
	})
	shows(t, "5.4 control frames among fragments", func(t *testing.T) {
		plays(t, map[string]script{
			"ping":                  {send: send(part[:1], ping, part[1:]), want: []string{`pong "in between"`, `text "ab"`, closed}},
			"pong":                  {send: send(part[:1], pong, part[1:]), want: []string{`text "ab"`, closed}},
			"several":               {send: send(part[:1], ping, pong, ping, part[1:]), want: []string{`pong "in between"`, `pong "in between"`, `text "ab"`, closed}},
			"close":                 {send: send(part[:1]), want: []string{closed}},
			"empty fragments, ping": {send: send(fragments(hailtest.OpText, "", "")[:1], ping, fragments(hailtest.OpText, "", "")[1:]), want: []string{`pong "in between"`, `text ""`, closed}},
			"every fragment":        {send: send(part[:1], ping, fragments(0, "b", "")[:1], ping, fragments(0, "c")), want: []string{`pong "in between"`, `pong "in between"`, `text "abc"`, closed}},
		})
	})
	shows(t, "5.4 control frames are handled as they come", func(t *testing.T) {
		t.Parallel()
		for name, frame := range map[string]hailtest.Frame{
			"fragment":            part[0],
			"compressed fragment": deflated(hello[:3], hello[3:])[0],
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, ends := echo(compression)
					p := hailtest.Dial(t, server, "/", hailtest.Raw(), hailtest.Header("Sec-WebSocket-Extensions", offer))
					p.Write(frame.Bytes())
					for _, payload := range []string{"", "1", strings.Repeat("2", 125)} {
						p.Write(control(hailtest.OpPing, payload).Bytes())
						if got, want := show(p.ReadFrame()), show(control(hailtest.OpPong, payload)); got != want {
							t.Errorf("got %s before the message's end, want %s", got, want)
						}
					}
					p.Write(bye.Bytes())
					if got := show(p.ReadFrame()); got != closed {
						t.Errorf("got %s before the message's end, want %s", got, closed)
					}
					kit.Await(t, "OnClose", ends, kit.Ample)
				})
			})
		}
	})
	shows(t, "5.4 fragments out of place", func(t *testing.T) {
		t.Parallel()
		notFinal := hailtest.Frame{Opcode: hailtest.OpContinuation, Payload: []byte("a")}
		for name, s := range map[string]script{
			"continuation of nothing":            violates(nil, fragments(hailtest.OpContinuation, "a")...),
			"continuation of nothing, not final": violates(nil, notFinal),
			"continuation of what has ended":     violates([]string{`text "ab"`}, slices.Concat(part, fragments(hailtest.OpContinuation, "c"))...),
			"continuation of a whole message":    violates([]string{`text "a"`}, text("a"), fragments(hailtest.OpContinuation, "b")[0]),
			"text among fragments":               violates(nil, part[0], text("c")),
			"text among fragments, not final":    violates(nil, part[0], part[0]),
			"binary among fragments":             violates(nil, part[0], bin([]byte("c"))),
			"text after a ping among fragments":  violates([]string{`pong "in between"`}, part[0], ping[0], text("c")),
		} {
			t.Run(name, s.play)
		}
	})
	shows(t, "5.5 control frames in fragments or over 125 bytes", func(t *testing.T) {
		t.Parallel()
		for _, op := range []hailtest.Opcode{hailtest.OpClose, hailtest.OpPing, hailtest.OpPong} {
			f := hailtest.Frame{Opcode: op, Payload: []byte("\x03\xe8")}
			t.Run(op.String()+" not final", violates(nil, f).play)
			t.Run(op.String()+" not final, empty", violates(nil, hailtest.Frame{Opcode: op}).play)
			t.Run(op.String()+" not final, among fragments", violates(nil, part[0], f).play)
			for _, length := range []int{126, 127, 1000, 65535, 65536} {
				f := control(op, "\x03\xe8"+strings.Repeat("x", length-2))
				t.Run(fmt.Sprintf("%v of %d", op, length), violates(nil, f).play)
				t.Run(fmt.Sprintf("%v of %d among fragments", op, length), violates(nil, part[0], f).play)
			}
		}
	})
	shows(t, "5.5.2 pings", func(t *testing.T) {
		list := map[string]script{}
		for _, payload := range []string{"", "a", "\xff\xfe\x00", strings.Repeat("x", 124), strings.Repeat("\xff", 125)} {
			list[fmt.Sprint(len(payload), " bytes")] = script{send: frames(control(hailtest.OpPing, payload), bye),
				want: []string{show(control(hailtest.OpPong, payload)), closed}}
		}
		list["in order with messages"] = script{send: frames(text("a"), control(hailtest.OpPing, "1"), bye), want: []string{`text "a"`, `pong "1"`, closed}}
		plays(t, list)
	})
	shows(t, "5.5.2 pongs go ahead of the queue", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			const messages, most = 100, 3 // the transport has some of them, and one is being written
			server, _ := echo(hail.Options{})
			server.OnMessage = func(c *hail.Conn, m hail.Message) error {
				for range messages {
					if err := c.Send(hail.Binary(make([]byte, 1000))); err != nil {
						return err
					}
				}
				return nil
			}
			p := hailtest.Dial(t, server, "/", hailtest.Raw(), hailtest.BufferSize(1<<10))
			p.Write(frames(text("go"), control(hailtest.OpPing, "now")))
			synctest.Wait()
			before := 0
			for f := p.ReadFrame(); f.Opcode != hailtest.OpPong; f = p.ReadFrame() {
				before++
			}
			if before > most {
				t.Errorf("%d of %d queued messages came before the pong, want at most %d", before, messages, most)
			}
		})
	})
	shows(t, "5.5.3 pongs nobody asked for", func(t *testing.T) {
		plays(t, map[string]script{
			"empty":     {send: frames(control(hailtest.OpPong, ""), text("a"), bye), want: []string{`text "a"`, closed}},
			"125 bytes": {send: frames(control(hailtest.OpPong, strings.Repeat("\xff", 125)), text("a"), bye), want: []string{`text "a"`, closed}},
		})
	})
}
