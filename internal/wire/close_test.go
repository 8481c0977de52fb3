package wire_test

// Close frames.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/hail/internal/wire"
)

func TestValidCode(t *testing.T) {
	t.Parallel()
	// RFC 6455 section 7.4 and the registry of section 11.7.
	for code := -1; code <= 1<<16; code++ {
		want := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
		if got := wire.ValidCode(code); got != want {
			t.Errorf("ValidCode(%d) = %v, want %v", code, got, want)
		}
	}
}

func TestCutReason(t *testing.T) {
	t.Parallel()
	t.Run("characters at the boundary", func(t *testing.T) {
		t.Parallel()
		for _, char := range []string{"a", "é", "€", "😀"} {
			for before := wire.MaxReason - 8; before <= wire.MaxReason+1; before++ {
				s := strings.Repeat("x", before) + strings.Repeat(char, 5)
				want := s
				for len(want) > wire.MaxReason {
					_, size := utf8.DecodeLastRuneInString(want)
					want = want[:len(want)-size]
				}
				if got := wire.CutReason(s); got != want {
					t.Errorf("%d bytes and %q: got %q, want %q", before, char, got, want)
				}
			}
		}
	})
	t.Run("what fits stays", func(t *testing.T) {
		t.Parallel()
		for _, s := range []string{"", "bye", strings.Repeat("a", 123), strings.Repeat("€", 41), "a\uFFFDb", "\x00"} {
			if got := wire.CutReason(s); got != s {
				t.Errorf("CutReason(%q) = %q", s, got)
			}
		}
	})
	t.Run("invalid UTF-8", func(t *testing.T) {
		t.Parallel()
		for s, want := range map[string]string{
			"\xff":                            "?",
			"a\xffb":                          "a?b",
			"a\xe2\x82":                       "a?",
			"\x80\x80":                        "?",
			"\xed\xa0\x80":                    "?",
			strings.Repeat("a", 122) + "\xff": strings.Repeat("a", 122) + "?",
		} {
			if got := wire.CutReason(s); got != want {
				t.Errorf("CutReason(%q) = %q, want %q", s, got, want)
			}
		}
	})
	t.Run("always fits", func(t *testing.T) {
		t.Parallel()
		for _, tail := range []string{"\x80", "\xff", "\xe2\x82", "\xf0\x9f\x98", "\xc3", "é", "€", "😀"} {
			for before := wire.MaxReason - 8; before <= wire.MaxReason+1; before++ {
				for times := 1; times <= 12; times++ {
					s := strings.Repeat("x", before) + strings.Repeat(tail, times)
					got := wire.CutReason(s)
					// At most a character is cut off before the boundary.
					if len(got) > wire.MaxReason || !utf8.ValidString(got) || !strings.HasPrefix(got, s[:min(before, wire.MaxReason-utf8.UTFMax)]) {
						t.Errorf("CutReason(%q) = %q of %d bytes", s, got, len(got))
					}
				}
			}
		}
	})
}

func TestAppendClose(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		code   int
		reason string
		want   string
	}{
		{"code alone", 1000, "", "\x88\x02\x03\xe8"},
		{"code and reason", 4999, "bye", "\x88\x05\x13\x87bye"},
		{"no code", wire.NoStatus, "", "\x88\x00"},
		{"no code takes no reason", wire.NoStatus, "bye", "\x88\x00"},
		{"longest", 1001, strings.Repeat("a", 123), "\x88\x7d\x03\xe9" + strings.Repeat("a", 123)},
		{"too long", 1001, strings.Repeat("a", 122) + "é", "\x88\x7c\x03\xe9" + strings.Repeat("a", 122)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := wire.AppendClose([]byte("before"), tt.code, tt.reason)
			if want := "before" + tt.want; string(got) != want {
				t.Fatalf("AppendClose(%d, %q) = %q, want %q", tt.code, tt.reason, got, want)
			}
			code, reason, err := wire.ParseClose(got[len("before")+2:])
			if code != tt.code || !strings.HasPrefix(tt.reason, reason) || err != nil {
				t.Errorf("ParseClose of it = %d, %q, %v, want %d", code, reason, err, tt.code)
			}
		})
	}
}

func TestParseClose(t *testing.T) {
	t.Parallel()
	t.Run("legal", func(t *testing.T) {
		t.Parallel()
		for payload, want := range map[string]string{
			"":                                    "1005 ",
			"\x03\xe8":                            "1000 ",
			"\x03\xe8bye":                         "1000 bye",
			"\x0b\xb8€":                           "3000 €",
			"\x13\x87" + strings.Repeat("a", 123): "4999 " + strings.Repeat("a", 123),
		} {
			code, reason, err := wire.ParseClose([]byte(payload))
			if got := fmt.Sprint(code, " ", reason); got != want || err != nil {
				t.Errorf("ParseClose(%q) = %s, %v, want %s", payload, got, err, want)
			}
		}
	})
	t.Run("a byte", func(t *testing.T) {
		t.Parallel()
		if code, _, err := wire.ParseClose([]byte{3}); code != 0 || err == nil || errors.Is(err, wire.ErrReason) {
			t.Errorf("ParseClose = %d, %v, want 0 and an error about the payload", code, err)
		}
	})
	t.Run("every code", func(t *testing.T) {
		t.Parallel()
		for code := range 1 << 16 {
			got, _, err := wire.ParseClose([]byte{byte(code >> 8), byte(code)})
			want := 0
			if wire.ValidCode(code) {
				want = code
			}
			if got != want || (err == nil) != wire.ValidCode(code) {
				t.Errorf("ParseClose with code %d = %d, %v, want %d", code, got, err, want)
			}
		}
	})
	t.Run("reason is not UTF-8", func(t *testing.T) {
		t.Parallel()
		for _, reason := range []string{"\xff", "bye\xe2\x82", "\xed\xa0\x80"} {
			code, got, err := wire.ParseClose(append([]byte{3, 0xe8}, reason...))
			if code != 0 || got != "" || !errors.Is(err, wire.ErrReason) {
				t.Errorf("ParseClose with reason %q = %d, %q, %v, want %v", reason, code, got, err, wire.ErrReason)
			}
		}
	})
	t.Run("code comes before reason", func(t *testing.T) {
		t.Parallel()
		if _, _, err := wire.ParseClose([]byte{3, 0xed, 0xff}); err == nil || errors.Is(err, wire.ErrReason) {
			t.Errorf("err = %v, want one about code 1005", err)
		}
	})
}

// FuzzParseClose checks that ParseClose accepts only legal payloads, and that AppendClose reproduces them.
func FuzzParseClose(f *testing.F) {
	for _, seed := range []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x03\xed", "\x0f\xa0\xff", "\x13\x88"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		code, reason, err := wire.ParseClose(p)
		legal := len(p) == 0
		if len(p) >= 2 {
			c := binary.BigEndian.Uint16(p)
			legal = utf8.Valid(p[2:]) && (c >= 1000 && c <= 1014 && c != 1004 && c != 1005 && c != 1006 || c >= 3000 && c <= 4999)
		}
		if (err == nil) != legal {
			t.Fatalf("ParseClose(% x) = %d, %q, %v, want an error: %v", p, code, reason, err, !legal)
		}
		if !legal || len(p) > wire.MaxControl {
			return
		}
		want := append([]byte{0x88, byte(len(p))}, p...)
		if got := wire.AppendClose(nil, code, reason); !bytes.Equal(got, want) {
			t.Errorf("AppendClose of ParseClose(% x): got % x, want % x", p, got, want)
		}
	})
}
