package wire_test

// UTF-8 in pieces, against unicode/utf8 on the whole.

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/hail/internal/wire"
)

// texts are valid and invalid texts, with each kind of invalid sequence (RFC 3629 section 3).
var texts = []string{
	"", "a", "hello, world", "é", "€", "😀", "aé€😀z", "\u0000\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff",
	"\uFFFD", "κόσμε",
	"\x80", "\xbf", "a\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2a", "\xc3\x28", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x28\xa1",
	"\xe2\x82\x28", "\xed\xa0\x80", "\xed\xbf\xbf", "\xef\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf0\x28\x8c\xbc",
	"\xf0\x90\x28\xbc", "\xf0\x28\x8c\x28", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff", "abc\xffdef", "€€\xe2", "😀\xf0\x9f",
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
}

// checkText writes the pieces, and compares the results with package utf8's for the whole text.
func checkText(t *testing.T, u *wire.UTF8, pieces ...[]byte) {
	t.Helper()
	text := bytes.Join(pieces, nil)
	bad := hopeless(text)
	n := 0
	for _, p := range pieces {
		n += len(p)
		got, want := u.Write(p), n < bad
		if got != want {
			t.Errorf("%q in pieces %q: after %d bytes Write = %v, want %v", text, pieces, n, got, want)
		}
		if !got || !want {
			*u = wire.UTF8{}
			return
		}
	}
	if got, want := u.Done(), utf8.Valid(text); got != want {
		t.Errorf("%q in pieces %q: Done = %v, want %v", text, pieces, got, want)
	}
}

// hopeless returns the length of the shortest prefix of text that no continuation makes valid,
// or more than len(text) if there is none.
func hopeless(text []byte) int {
	for n := range len(text) + 1 {
		if !hopeful(text[:n]) {
			return n
		}
	}
	return len(text) + 1
}

// hopeful reports whether some continuation makes b valid. It tries all kinds.
func hopeful(b []byte) bool {
	for _, rest := range []string{"", "\x80", "\xbf", "\x90\x80", "\xa0\x80", "\x80\x80", "\x90\x80\x80", "\x80\x80\x80"} {
		if utf8.Valid(append(bytes.Clone(b), rest...)) {
			return true
		}
	}
	return false
}

func TestUTF8(t *testing.T) {
	t.Parallel()
	for _, text := range texts {
		t.Run(fmt.Sprintf("%+q", text), func(t *testing.T) {
			t.Parallel()
			p := []byte(text)
			// One checker for all: no state of one text may affect the next.
			var u wire.UTF8
			checkText(t, &u, p)
			for i := range len(p) + 1 {
				checkText(t, &u, p[:i], p[i:])
				for j := i; j <= len(p); j++ {
					checkText(t, &u, p[:i], p[i:j], p[j:])
					checkText(t, &u, p[:i], nil, p[i:j], nil, p[j:])
				}
			}
			each := make([][]byte, len(p))
			for i := range p {
				each[i] = p[i : i+1]
			}
			checkText(t, &u, each...)
		})
	}
}

// TestUTF8FailsFast checks that Write fails with the first impossible byte, not only at the character's end.
func TestUTF8FailsFast(t *testing.T) {
	t.Parallel()
	for lead := 0x7f; lead < 256; lead++ {
		for second := range 256 {
			for _, third := range []byte{0x7f, 0x80, 0xbf, 0xc0} {
				var u wire.UTF8
				checkText(t, &u, []byte{byte(lead)}, []byte{byte(second)}, []byte{third})
				checkText(t, &u, []byte{'a', byte(lead), byte(second)}, []byte{third, 'z'})
			}
		}
	}
}

func TestUTF8DoneStartsANewText(t *testing.T) {
	t.Parallel()
	var u wire.UTF8
	if !u.Write([]byte("\xe2\x82")) {
		t.Error("Write of the start of a character = false, want true")
	}
	if u.Done() {
		t.Error("Done within a character = true, want false")
	}
	if !u.Write([]byte("a")) || !u.Done() {
		t.Error("the next text is invalid, want valid")
	}
	if !u.Done() {
		t.Error("Done of an empty text = false, want true")
	}
}

func FuzzUTF8(f *testing.F) {
	for i, text := range texts {
		f.Add([]byte(text), uint8(i), uint8(3*i))
	}
	f.Fuzz(func(t *testing.T, p []byte, first, size uint8) {
		if len(p) > 1<<10 {
			return
		}
		at := min(int(first), len(p))
		pieces := [][]byte{p[:at]}
		for rest := p[at:]; len(rest) > 0; {
			n := min(int(size)%7+1, len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		var u wire.UTF8
		checkText(t, &u, pieces...)
	})
}

func BenchmarkUTF8(b *testing.B) {
	for name, text := range map[string]string{"ascii": "hello, world. ", "mixed": "grüße, 世界. "} {
		for _, length := range []int{128, 4096, 65536} {
			b.Run(fmt.Sprintf("%s/bytes=%d", name, length), func(b *testing.B) {
				p := []byte(strings.Repeat(text, length/len(text)))
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					var u wire.UTF8
					if !u.Write(p) || !u.Done() {
						b.Fatal("the text is invalid, want valid")
					}
				}
			})
		}
	}
}
