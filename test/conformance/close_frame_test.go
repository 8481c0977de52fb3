package conformance_test

// Close frames: codes and reasons (RFC 6455 sections 5.5.1 and 7.4).

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// legalCode reports whether a close frame may carry the code: those of section 7.4.1 and the IANA registry,
// and the ranges of section 7.4.2.
func legalCode(code int) bool {
	return slices.Contains([]int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}, code) ||
		code >= 3000 && code <= 4999
}

// codes are the codes around every border.
var codes = []int{0, 1, 255, 256, 998, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015,
	1016, 1100, 1999, 2000, 2001, 2998, 2999, 3000, 3001, 3999, 4000, 4001, 4998, 4999, 5000, 5001, 9999, 32767, 32768, 65534, 65535}

func closeWith(payload string) hailtest.Frame { return control(hailtest.OpClose, payload) }

func TestCloseFrames(t *testing.T) {
	t.Parallel()
	first := []string{`text "first"`}
	answers := func(answer string, list ...hailtest.Frame) script {
		return script{send: frames(append([]hailtest.Frame{text("first")}, list...)...), want: append(slices.Clone(first), answer)}
	}
	breaks := func(answer string, list ...hailtest.Frame) script {
		s := answers(answer, list...)
		s.cause = hail.CauseProtocol
		return s
	}
	shows(t, "7.4 codes that may be sent", func(t *testing.T) {
		t.Parallel()
		for _, code := range codes {
			if legalCode(code) {
				t.Run(fmt.Sprint(code), answers(fmt.Sprintf("close %d ", code), hailtest.CloseFrame(hail.StatusCode(code), "")).play)
				t.Run(fmt.Sprint(code, " with a reason"), answers(fmt.Sprintf("close %d ", code), hailtest.CloseFrame(hail.StatusCode(code), "reason")).play)
			}
		}
	})
	shows(t, "7.4 codes that may not be sent", func(t *testing.T) {
		t.Parallel()
		for _, code := range codes {
			if !legalCode(code) {
				f := closeWith(string(binary.BigEndian.AppendUint16(nil, uint16(code))))
				t.Run(fmt.Sprint(code), breaks(closeProtocol, f).play)
				f.Payload = append(f.Payload, "reason"...)
				t.Run(fmt.Sprint(code, " with a reason"), breaks(closeProtocol, f).play)
			}
		}
	})
	shows(t, "7.4 every code up to 5100", func(t *testing.T) {
		t.Parallel()
		const last, some = 5100, 100 // at a time: a bubble keeps all memory that was used in it
		for from := 0; from <= last; from += some {
			synctest.Test(t, func(t *testing.T) {
				server, closed := echo(hail.Options{})
				for code := from; code < from+some; code++ {
					p := hailtest.Dial(t, server, "/", hailtest.Raw(), hailtest.Timeout(time.Hour))
					p.Write(closeWith(string(binary.BigEndian.AppendUint16(nil, uint16(code)))).Bytes())
					want := hail.StatusProtocolError
					if legalCode(code) {
						want = hail.StatusCode(code)
					}
					if f := p.ReadFrame(); f.Opcode != hailtest.OpClose || f.CloseError().Code != want {
						t.Errorf("%d: got %v, want a close frame with %d", code, f, want)
					}
					<-closed
				}
			})
		}
	})
	shows(t, "5.5.1 payloads", func(t *testing.T) {
		t.Parallel()
		for name, s := range map[string]script{
			"none":                       answers("close 1005 ", closeWith("")),
			"one byte":                   breaks(closeProtocol, closeWith("\x03")),
			"one byte, zero":             breaks(closeProtocol, closeWith("\x00")),
			"a code":                     answers("close 1000 ", closeWith("\x03\xe8")),
			"a reason":                   answers("close 1000 ", closeWith("\x03\xe8because")),
			"the longest reason":         answers("close 1000 ", closeWith("\x03\xe8"+strings.Repeat("x", 123))),
			"the longest, of characters": answers("close 1000 ", closeWith("\x03\xe8"+strings.Repeat("\u4f60", 41))),
			"a reason with NUL":          answers("close 1000 ", closeWith("\x03\xe8\x00\u2028")),
			"a longer reason":            breaks(closeProtocol, closeWith("\x03\xe8"+strings.Repeat("x", 124))),
			"not final":                  breaks(closeProtocol, hailtest.Frame{Opcode: hailtest.OpClose, Payload: []byte("\x03\xe8")}),
		} {
			t.Run(name, s.play)
		}
	})
	shows(t, "8.1 reasons that are not UTF-8", func(t *testing.T) {
		t.Parallel()
		for _, reason := range invalidTexts {
			if len(reason) <= 123 {
				t.Run(fmt.Sprintf("%.20q", reason), breaks(closeUTF8, closeWith("\x03\xe8"+reason)).play)
			}
		}
		for _, reason := range []string{"\xc3", "\xe4\xbd", strings.Repeat("x", 122) + "\xc3"} {
			t.Run(fmt.Sprintf("%.20q", reason), breaks(closeUTF8, closeWith("\x03\xe8"+reason)).play)
		}
	})
	shows(t, "5.5.1 nothing counts after the client's close frame", func(t *testing.T) {
		t.Parallel()
		for name, after := range map[string][]byte{
			"text":            frames(text("late")),
			"ping":            frames(control(hailtest.OpPing, "late")),
			"another close":   frames(hailtest.CloseFrame(4000, "again")),
			"a fragment":      frames(fragments(hailtest.OpText, "la", "te")[0]),
			"an illegal one":  frames(hailtest.Frame{Fin: true, RSV2: true, Opcode: 7, Unmasked: true}),
			"half a frame":    frames(text("late"))[:4],
			"garbage":         []byte("GET / HTTP/1.1\r\n\r\n"),
			"a large message": frames(bin(make([]byte, 3000))),
		} {
			s := answers(closed, bye)
			s.send = append(s.send, after...)
			t.Run(name, s.play)
		}
	})
}
