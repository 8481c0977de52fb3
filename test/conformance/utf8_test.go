package conformance_test

// Text that is UTF-8 and text that is not, whole and in pieces (RFC 6455 sections 5.6 and 8.1).

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"example.com/hail"
	"example.com/hail/hailtest"
)

var validTexts = []string{
	"", "a", "\x00\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0010ffff",
	"\ufeffbyte order mark", "\u03ba\u1f79\u03c3\u03bc\u03b5", "a\u00e9\u4f60\U0001f600z", "\u2028\u2029", "e\u0301",
}

var invalidTexts = []string{
	"\x80", "\xbf", "\xc0", "\xc0\x80", "\xc1\xbf", "\xf5", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", // never
	"\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", // longer than needed
	"\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates
	"\xf4\x90\x80\x80", "\xf7\xbf\xbf\xbf", // over U+10FFFF
	"\xc3(", "\xe4\xbd(", "\xe4(\xa0", "\xf0\x9f\x98(", "\xf0(\x8c\xbc", "\xc3\xa9\xa9", // a byte that does not continue
	"\u03ba\u1f79\u03c3\u03bc\u03b5\xed\xa0\x80edited", strings.Repeat("x", 200) + "\xff", strings.Repeat("\u4f60", 100) + "\xe4\xbd\xbd\xbd",
}

// impossible returns the index of the first byte that no valid text has there, len(s) if there is none.
func impossible(s string) int {
	for n := 1; n <= len(s); n++ {
		if !continues(s[:n], utf8.UTFMax-1) {
			return n - 1
		}
	}
	return len(s)
}

// continues reports whether s is valid, or becomes valid with at most that many more bytes.
func continues(s string, most int) bool {
	if utf8.ValidString(s) {
		return true
	}
	for _, c := range []string{"\x80", "\x8f", "\x90", "\x9f", "\xa0", "\xbf"} {
		if most > 0 && continues(s+c, most-1) {
			return true
		}
	}
	return false
}

func TestUTF8(t *testing.T) {
	t.Parallel()
	send := func(list ...hailtest.Frame) []byte { return frames(append(list, bye)...) }
	shows(t, "5.6 text that is UTF-8", func(t *testing.T) {
		t.Parallel()
		for _, s := range validTexts {
			want := []string{show(text(s)), closed}
			t.Run(fmt.Sprintf("%q", s), script{send: send(text(s)), want: want}.play)
			t.Run(fmt.Sprintf("%q, a fragment a byte", s), script{send: send(fragments(hailtest.OpText, append(strings.Split(s, ""), "")...)...), want: want}.play)
			var bytewise []string
			for i := range len(s) {
				bytewise = append(bytewise, s[i:i+1])
			}
			t.Run(fmt.Sprintf("%q in bytes", s), script{send: send(fragments(hailtest.OpText, append(bytewise, "")...)...), want: want}.play)
		}
	})
	shows(t, "5.6 text split at every byte, with a ping between", func(t *testing.T) {
		all := "a\u00e9\u4f60\U0001f600z"
		var list []hailtest.Frame
		var want []string
		for i := range len(all) + 1 {
			f := fragments(hailtest.OpText, all[:i], all[i:])
			list = append(list, f[0], control(hailtest.OpPing, "\xff"), f[1])
			want = append(want, `pong "\xff"`, show(text(all)))
		}
		script{send: send(list...), want: append(want, closed)}.play(t)
	})
	shows(t, "5.6 binary may be anything", func(t *testing.T) {
		s := script{}
		for _, b := range invalidTexts {
			s.send = append(s.send, frames(append(fragments(hailtest.OpBinary, b[:1], b[1:]), bin([]byte(b)))...)...)
			s.want = append(s.want, show(bin([]byte(b))), show(bin([]byte(b))))
		}
		s.send, s.want = append(s.send, bye.Bytes()...), append(s.want, closed)
		s.play(t)
	})
	shows(t, "8.1 text that is not UTF-8", func(t *testing.T) {
		t.Parallel()
		refuses := func(list ...hailtest.Frame) script {
			return script{send: send(append([]hailtest.Frame{text("first")}, list...)...), want: []string{`text "first"`, closeUTF8}, cause: hail.CauseProtocol}
		}
		for _, s := range invalidTexts {
			t.Run(fmt.Sprintf("%.20q", s), refuses(text(s)).play)
			for i := range min(len(s), 12) {
				t.Run(fmt.Sprintf("%.20q split at %d", s, i), refuses(fragments(hailtest.OpText, s[:i], s[i:])...).play)
			}
		}
		for _, s := range []string{"\xc3", "\xe4", "\xe4\xbd", "\xf0", "\xf0\x9f", "\xf0\x9f\x98", "a\xf0\x9f\x98"} {
			t.Run(fmt.Sprintf("%q ends", s), refuses(text(s)).play)
			t.Run(fmt.Sprintf("%q ends in a fragment", s), refuses(fragments(hailtest.OpText, s, "")...).play)
			t.Run(fmt.Sprintf("%q ends, and the next begins with the rest", s), refuses(text(s), text("\xbf")).play)
		}
	})
	shows(t, "8.1 the close comes with the first impossible byte", func(t *testing.T) {
		t.Parallel()
		for _, s := range invalidTexts {
			t.Run(fmt.Sprintf("%.20q in one frame", s), func(t *testing.T) {
				t.Parallel()
				f := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(s), Length: 50_000}
				b := f.Bytes()
				failsWith(t, b, len(b)-len(s)+impossible(s))
			})
			t.Run(fmt.Sprintf("%.20q in the second fragment", s), func(t *testing.T) {
				t.Parallel()
				b := frames(hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte("\u4f60")},
					hailtest.Frame{Opcode: hailtest.OpContinuation, Payload: []byte(s), Length: 50_000})
				failsWith(t, b, len(b)-len(s)+impossible(s))
			})
			t.Run(fmt.Sprintf("%.20q, a fragment a byte", s), func(t *testing.T) {
				t.Parallel()
				var b []byte
				for i := range impossible(s) + 1 {
					f := hailtest.Frame{Payload: []byte(s[i : i+1])}
					if i == 0 {
						f.Opcode = hailtest.OpText
					}
					b = append(b, f.Bytes()...)
				}
				failsWith(t, b, len(b)-1)
			})
		}
	})
}

// failsWith sends b byte by byte and checks that the server gives up with the one at the index, not sooner
// and not later.
func failsWith(t *testing.T, b []byte, index int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Bool
		server, _ := echo(hail.Options{PingInterval: -1, MessageTimeout: -1})
		server.OnError = func(*hail.Conn, error) { failed.Store(true) }
		p := hailtest.Dial(t, server, "/", hailtest.Raw())
		for i, c := range b[:index+1] {
			if failed.Load() {
				t.Fatalf("the server gave up with byte %d of % x, want %d", i-1, b, index)
			}
			p.Write([]byte{c})
			synctest.Wait()
		}
		if !failed.Load() {
			t.Fatalf("the server has not given up with byte %d of % x", index, b)
		}
		if got := show(p.ReadFrame()); got != closeUTF8 {
			t.Errorf("got %s, want %s", got, closeUTF8)
		}
		p.NetConn().Close()
	})
}
