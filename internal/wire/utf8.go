package wire

// UTF-8 that arrives in pieces (RFC 6455 section 8.1).

import "unicode/utf8"

// UTF8 checks a text that arrives in pieces. Its zero value is at the start of a text.
type UTF8 struct {
	part [utf8.UTFMax]byte // the start of a character whose rest has not arrived
	n    int
}

// Write checks the next piece and reports whether the text may still become valid.
// It reports false with the first byte that no valid text can have there.
func (u *UTF8) Write(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.part[u.n] = p[0]
		u.n++
		p = p[1:]
		if !utf8.FullRune(u.part[:u.n]) {
			continue
		}
		if r, size := utf8.DecodeRune(u.part[:u.n]); r == utf8.RuneError && size == 1 {
			return false
		}
		u.n = 0
	}
	whole := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-i:]) {
				whole = len(p) - i
			}
			break
		}
	}
	if !utf8.Valid(p[:whole]) {
		return false
	}
	if whole < len(p) {
		u.n = copy(u.part[:], p[whole:])
	}
	return true
}

// Done reports whether the text may end here, and starts the next one.
func (u *UTF8) Done() bool {
	whole := u.n == 0
	u.n = 0
	return whole
}
