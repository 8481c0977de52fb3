package conformance_test

// Payload lengths in all their forms (RFC 6455 section 5.2).

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestLengths(t *testing.T) {
	t.Parallel()
	shows(t, "5.2 lengths in the fewest bytes", func(t *testing.T) {
		t.Parallel()
		for _, length := range []int{0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537} {
			t.Run(fmt.Sprint(length), func(t *testing.T) {
				message := strings.Repeat("x", length)
				script{
					opts: hail.Options{ReadLimit: 1 << 20},
					send: frames(text(message), text("next"), bye),
					want: []string{show(text(message)), `text "next"`, closed},
				}.play(t)
			})
		}
	})
	shows(t, "5.2 lengths in more bytes than needed", func(t *testing.T) {
		t.Parallel()
		for _, size := range []int{2, 8} {
			for _, length := range []int{0, 1, 125, 126, 65535} {
				if size == 2 && length > 125 {
					continue
				}
				for _, op := range []hailtest.Opcode{hailtest.OpText, hailtest.OpBinary, hailtest.OpPing, hailtest.OpPong, hailtest.OpClose} {
					if op >= hailtest.OpClose && length > 125 || op == hailtest.OpClose && length == 1 {
						continue // has another fault
					}
					long := hailtest.Frame{Fin: true, Opcode: op, Payload: make([]byte, length), LengthSize: size}
					if op == hailtest.OpClose && length > 1 {
						copy(long.Payload, "\x03\xe8")
					}
					t.Run(fmt.Sprintf("%v of %d in %d", op, length, size), func(t *testing.T) {
						script{
							send:  frames(text("first"), long, text("never"), bye),
							want:  []string{`text "first"`, closeProtocol},
							cause: hail.CauseProtocol,
						}.play(t)
					})
				}
			}
		}
		for _, size := range []int{2, 8} {
			t.Run(fmt.Sprintf("fragment in %d", size), func(t *testing.T) {
				parts := fragments(hailtest.OpText, "one", "two")
				parts[1].LengthSize = size
				script{
					send:  frames(append(parts, text("never"), bye)...),
					want:  []string{closeProtocol},
					cause: hail.CauseProtocol,
				}.play(t)
			})
		}
	})
	shows(t, "5.2 lengths over the limit", func(t *testing.T) {
		t.Parallel()
		for name, length := range map[string]uint64{
			"65537": 65537, "2^31-1": math.MaxInt32, "2^31": 1 << 31, "2^32-1": math.MaxUint32, "2^32": 1 << 32,
			"2^62": 1 << 62, "2^63-1": math.MaxInt64,
		} {
			for _, op := range []hailtest.Opcode{hailtest.OpText, hailtest.OpBinary} {
				t.Run(fmt.Sprint(op, " of ", name), func(t *testing.T) {
					script{
						send:  frames(text("first"), hailtest.Frame{Fin: true, Opcode: op, Length: length}),
						want:  []string{`text "first"`, closeTooBig},
						cause: hail.CauseReadLimit,
					}.play(t)
				})
				t.Run(fmt.Sprint("fragment of a ", op, " of ", name), func(t *testing.T) {
					script{
						send: frames(hailtest.Frame{Opcode: op, Payload: []byte("one")},
							hailtest.Frame{Opcode: hailtest.OpContinuation, Length: length}),
						want:  []string{closeTooBig},
						cause: hail.CauseReadLimit,
					}.play(t)
				})
			}
		}
	})
	shows(t, "5.2 lengths without a limit", func(t *testing.T) {
		t.Parallel()
		for name, tt := range map[string]struct {
			length uint64
			want   string
			cause  hail.Cause
		}{
			"2^31":      {1 << 31, "close 1008 message timeout", hail.CauseMessageTimeout},
			"2^32":      {1 << 32, "close 1008 message timeout", hail.CauseMessageTimeout},
			"2^62":      {1 << 62, "close 1008 message timeout", hail.CauseMessageTimeout},
			"2^63-1-14": {math.MaxInt64 - 14, "close 1008 message timeout", hail.CauseMessageTimeout},
			"2^63-14":   {math.MaxInt64 - 13, closeTooBig, hail.CauseReadLimit}, // with its header it is too long for a slice
			"2^63-1":    {math.MaxInt64, closeTooBig, hail.CauseReadLimit},
		} {
			for _, payload := range []string{"", "and some of it"} {
				t.Run(fmt.Sprintf("%s with %q", name, payload), func(t *testing.T) {
					head := hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: tt.length}.Bytes()
					script{
						opts:  hail.Options{ReadLimit: -1, MessageTimeout: 100 * time.Millisecond},
						send:  append(append(frames(text("first")), head...), payload...),
						want:  []string{`text "first"`, tt.want},
						cause: tt.cause,
					}.play(t)
				})
			}
		}
	})
	shows(t, "5.2 lengths with the top bit set", func(t *testing.T) {
		t.Parallel()
		for name, length := range map[string]uint64{"2^63": 1 << 63, "2^64-1": math.MaxUint64} {
			for first := range 256 {
				op := first & 0x0F
				if first&0x70 != 0 || op > 2 && op < 8 || op > 10 {
					continue // has another fault
				}
				t.Run(fmt.Sprintf("%s, %#x", name, first), func(t *testing.T) {
					head := binary.BigEndian.AppendUint64([]byte{byte(first), 0xFF}, length)
					script{
						opts:  hail.Options{ReadLimit: -1},
						send:  append(frames(text("first")), append(head, "mask and payload"...)...),
						want:  []string{`text "first"`, closeProtocol},
						cause: hail.CauseProtocol,
					}.play(t)
				})
			}
		}
	})
}
