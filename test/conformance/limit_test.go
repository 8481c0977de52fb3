package conformance_test

// Messages at the limit and one byte past it, in every form that a message can come in (RFC 6455 section 10.4).

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// forms are ways to send a text message.
var forms = map[string]func(m string) []hailtest.Frame{
	"whole":                 func(m string) []hailtest.Frame { return []hailtest.Frame{text(m)} },
	"in two":                func(m string) []hailtest.Frame { return fragments(hailtest.OpText, m[:len(m)/2], m[len(m)/2:]) },
	"last byte apart":       func(m string) []hailtest.Frame { return fragments(hailtest.OpText, m[:len(m)-1], m[len(m)-1:]) },
	"in two and an end":     func(m string) []hailtest.Frame { return fragments(hailtest.OpText, m[:len(m)/2], m[len(m)/2:], "") },
	"compressed":            func(m string) []hailtest.Frame { return deflated(compress([]byte(m))) },
	"compressed, in two":    func(m string) []hailtest.Frame { z := compress([]byte(m)); return deflated(z[:1], z[1:]) },
	"compressed, longer":    func(m string) []hailtest.Frame { return deflated(stored(m, 0)) },
	"compressed, final":     func(m string) []hailtest.Frame { return deflated(stored(m, 1)) },
	"compressed, and empty": func(m string) []hailtest.Frame { return deflated(stored(m, 0)+"\x00\x00\xff\xff\x00", "") },
}

// stored returns the payload of a compressed message that is longer than the message: in small blocks that
// are not compressed, all of them final or none.
func stored(m string, final byte) string {
	var b []byte
	for len(m) > 0 {
		n := min(len(m), 50)
		b = append(b, final, byte(n), 0, ^byte(n), 0xFF)
		b = append(b, m[:n]...)
		m = m[n:]
	}
	return string(append(b, 0))
}

// message returns a text of size bytes.
func message(size int) string { return strings.Repeat("0123456789", size/10+1)[:size] }

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := []int{1, 125, 126, 1000, 4096, 65535, 65536, 300_000}
	each := func(t *testing.T, size func(limit int) int, of func(size int) script) {
		t.Parallel()
		for _, limit := range limits {
			for name, form := range forms {
				t.Run(fmt.Sprintf("limit %d, %s", limit, name), func(t *testing.T) {
					n := size(limit)
					s := of(n)
					s.opts, s.offer = hail.Options{Compression: true, ReadLimit: int64(limit)}, offer
					s.send = frames(append(form(message(n)), bye)...)
					s.play(t)
				})
			}
		}
	}
	shows(t, "10.4 messages at the limit", func(t *testing.T) {
		each(t, func(limit int) int { return limit }, func(size int) script {
			return script{want: []string{show(text(message(size))), closed}}
		})
	})
	shows(t, "10.4 messages one byte past the limit", func(t *testing.T) {
		each(t, func(limit int) int { return limit + 1 }, func(int) script {
			return script{want: []string{closeTooBig}, cause: hail.CauseReadLimit}
		})
	})
	shows(t, "10.4 the largest limit", func(t *testing.T) {
		t.Parallel()
		for name, form := range forms {
			t.Run(name, script{opts: hail.Options{Compression: true, ReadLimit: math.MaxInt64}, offer: offer,
				send: frames(append(form(message(5000)), bye)...), want: []string{show(text(message(5000))), closed}}.play)
		}
	})
	shows(t, "10.4 the limit is a message's", func(t *testing.T) {
		var list []hailtest.Frame
		var want []string
		for _, form := range forms {
			list = append(list, form(message(100))...)
			list = append(list, control(hailtest.OpPing, strings.Repeat("y", 125)))
			want = append(want, show(text(message(100))), show(control(hailtest.OpPong, strings.Repeat("y", 125))))
		}
		script{opts: hail.Options{Compression: true, ReadLimit: 100}, offer: offer, send: frames(append(list, bye)...), want: append(want, closed)}.play(t)
	})
	shows(t, "10.4 messages that inflate far past the limit", func(t *testing.T) {
		t.Parallel()
		bomb := compress(make([]byte, 4<<20))
		for name, list := range map[string][]hailtest.Frame{
			"whole":  {{Fin: true, RSV1: true, Opcode: hailtest.OpBinary, Payload: []byte(bomb)}},
			"in two": deflated(bomb[:100], bomb[100:]),
		} {
			t.Run(name, script{opts: compression, offer: offer, send: frames(append(list, bye)...),
				want: []string{closeTooBig}, cause: hail.CauseReadLimit}.play)
		}
	})
	shows(t, "10.4 fragments without end", func(t *testing.T) {
		list := fragments(hailtest.OpBinary, make([]string, 2000)...)
		for i := range list {
			list[i].Payload = make([]byte, 100)
		}
		script{send: frames(append(list, bye)...), want: []string{closeTooBig}, cause: hail.CauseReadLimit}.play(t)
	})
}
