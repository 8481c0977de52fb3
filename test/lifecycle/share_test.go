package lifecycle_test

// The time that a busy connection leaves to the others.

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// TestAFloodLeavesTheProcessorToOthers counts how often another goroutine runs while the server reads a flood that has arrived,
// on one processor. It is not parallel.
func TestAFloodLeavesTheProcessorToOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const (
		frames = 100_000
		share  = 256 // frames in a row
	)
	for name, frame := range map[string]hailtest.Frame{
		"messages":  {Fin: true, Opcode: hailtest.OpBinary},
		"fragments": {Opcode: hailtest.OpContinuation},
		"pings":     {Fin: true, Opcode: hailtest.OpPing},
	} {
		t.Run(name, func(t *testing.T) {
			flood := bytes.Repeat(frame.Bytes(), frames)
			last := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("last")}
			if name == "fragments" {
				flood = append(hailtest.Frame{Opcode: hailtest.OpText}.Bytes(), flood...)
				last.Opcode = hailtest.OpContinuation
			}
			flood = append(flood, last.Bytes()...)
			var over atomic.Bool
			s := &hail.Server{Handler: hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
				over.Store(m.String() == "last")
				return nil
			}}}
			p := hailtest.Dial(t, s, "/", hailtest.BufferSize(2*len(flood)))
			p.Write(flood)
			turns := 0
			for ; !over.Load(); turns++ {
				runtime.Gosched()
			}
			if least := frames / share / 2; turns < least {
				t.Errorf("another goroutine had %d turns, want %d at the least", turns, least)
			}
		})
	}
}
