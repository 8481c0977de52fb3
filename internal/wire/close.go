package wire

// Close frames (RFC 6455 sections 5.5.1 and 7.4).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Close codes that this package treats specially.
const (
	NoStatus = 1005 // stands for a close frame without a code; never sent

	firstCode    = 1000
	reservedCode = 1004
	abnormalCode = 1006
	lastCode     = 1014
	firstPrivate = 3000
	lastPrivate  = 4999
)

// ErrReason is [ParseClose]'s error for a reason that is not UTF-8.
var ErrReason = errors.New("close frame with a reason that is not valid UTF-8")

// MaxReason is the longest reason of a close frame, in bytes.
const MaxReason = MaxControl - 2

// ValidCode reports whether a close frame may carry the code.
func ValidCode(code int) bool {
	switch {
	case code == reservedCode, code == NoStatus, code == abnormalCode:
		return false
	case code >= firstCode && code <= lastCode:
		return true
	default:
		return code >= firstPrivate && code <= lastPrivate
	}
}

// CutReason makes s fit for a close frame: valid UTF-8, and cut at a character's
// boundary if it is longer than [MaxReason].
func CutReason(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	if len(s) <= MaxReason {
		return s
	}
	end := MaxReason
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// AppendClose appends a close frame. The code [NoStatus] gives one without a payload.
// The reason is made to fit by [CutReason].
func AppendClose(dst []byte, code int, reason string) []byte {
	if code == NoStatus {
		return append(dst, Fin|Close, 0)
	}
	reason = CutReason(reason)
	dst = append(dst, Fin|Close, byte(2+len(reason)), byte(code>>8), byte(code))
	return append(dst, reason...)
}

// ParseClose reads the unmasked payload of a close frame.
func ParseClose(p []byte) (code int, reason string, err error) {
	switch {
	case len(p) == 0:
		return NoStatus, "", nil
	case len(p) == 1:
		return 0, "", errors.New("close frame with a payload of one byte")
	}
	code = int(binary.BigEndian.Uint16(p))
	if !ValidCode(code) {
		return 0, "", fmt.Errorf("close frame with code %d", code)
	}
	if !utf8.Valid(p[2:]) {
		return 0, "", ErrReason
	}
	return code, string(p[2:]), nil
}
