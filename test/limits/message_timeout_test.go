package limits_test

// The time that a message may last.

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestMessageTimeout(t *testing.T) {
	t.Parallel()
	whole := kit.Message([]byte(strings.Repeat("slow ", 20)))
	split := kit.Fragments(false, []byte("one two three four five"), 4, 4, 6)
	const ever = 24 * time.Hour
	for name, tc := range map[string]struct {
		b      []byte        // is sent in pieces
		piece  int           // of this many bytes
		each   time.Duration // so often
		inTime bool
		pings  bool // the peer sends heartbeats between the pieces
	}{
		"a frame that trickles":            {whole, 1, time.Second, false, false},
		"a frame that stops":               {whole, len(whole) - 1, ever, false, false},
		"a frame in time":                  {whole, 11, 3 * time.Second, true, false},
		"a header that stops":              {whole, 1, ever, false, false},
		"fragments that trickle":           {split, 1, time.Second, false, false},
		"fragments that stop":              {split, 10, ever, false, false},
		"fragments that stop in a header":  {split, 11, ever, false, false},
		"fragments that stop in a payload": {split, 18, ever, false, false},
		"fragments in time":                {split, 5, 2 * time.Second, true, false},
		"fragments between heartbeats":     {split, 10, 28 * time.Second, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				// A peer in the middle of a frame cannot answer a ping.
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				time.Sleep(time.Minute) // an idle connection has no message that could be late
				start := time.Now()
				stop := make(chan struct{})
				var sender sync.WaitGroup
				defer sender.Wait()
				defer close(stop)
				sender.Go(func() { // ends with the bytes or when stop is closed; waited for above
					for b := tc.b; len(b) > 0; {
						n := min(len(b), tc.piece)
						p.Write(b[:n])
						b = b[n:]
						if tc.pings {
							p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes())
						}
						select {
						case <-stop:
							return
						case <-time.After(tc.each):
						}
					}
				})
				if tc.inTime {
					kit.Await(t, "OnMessage", e.Msgs, 30*time.Second)
					return
				}
				f := p.ReadFrame()
				for f.Opcode == hailtest.OpPong {
					f = p.ReadFrame()
				}
				if got := f.CloseError(); got.Code != hail.StatusPolicyViolation || got.Reason != "message timeout" {
					t.Errorf("got %v, want a close frame with 1008, message timeout", f)
				}
				kit.CheckDelay(t, "close frame", start, 30*time.Second)
				p.CloseWrite()
				kit.CheckNames(t, kit.Await(t, "OnError", e.Errs, kit.Ample), "Options.MessageTimeout")
				kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusPolicyViolation, hail.CauseMessageTimeout, false)
			})
		})
	}
}

func TestMessageTimeoutIsForOneMessage(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", opts...)
		for i := range 10 {
			b := kit.Message([]byte("a message"))
			if i%2 == 1 {
				b = kit.Fragments(false, []byte("a message"), 3)
			}
			p.Write(b[:8])
			time.Sleep(25 * time.Second)
			p.Write(b[8:])
			kit.Await(t, "OnMessage", e.Msgs, time.Second)
		}
		if len(e.Closed) > 0 {
			t.Errorf("closed: %+v", <-e.Closed)
		}
	})
}

func TestMessageTimeoutDoesNotRunWhileACallbackDoes(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		msgs := make(chan string, 4)
		h, e := kit.Observed(hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
			if m.String() == "first" {
				time.Sleep(5 * time.Minute)
			}
			msgs <- m.String()
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", opts...)
		second := kit.Message([]byte("second"))
		third := kit.Fragments(false, []byte("third"), 2, 1)
		p.Write(slices.Concat(kit.Message([]byte("first")), second[:9]))
		if got := kit.Await(t, "OnMessage", msgs, time.Hour); got != "first" {
			t.Fatalf("got %q, want first", got)
		}
		time.Sleep(29 * time.Second)
		p.Write(slices.Concat(second[9:], third[:9]))
		time.Sleep(29 * time.Second)
		p.Write(third[9:])
		for _, want := range []string{"second", "third"} {
			if got := kit.Await(t, "OnMessage", msgs, time.Second); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if len(e.Closed) > 0 {
			t.Errorf("closed: %+v", <-e.Closed)
		}
	})
}

// In TestMessageTimeoutIsNotThatOfTheMessageBefore a header in two parts starts the clock of its message. The clock has to
// stop with that message, even if the next one has begun.
func TestMessageTimeoutIsNotThatOfTheMessageBefore(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		msgs := make(chan string, 4)
		h, e := kit.Observed(hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
			if m.String() == "first" {
				time.Sleep(time.Minute)
			}
			msgs <- m.String()
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", opts...)
		first, second := kit.Message([]byte("first")), kit.Message([]byte("second"))
		p.WriteSplit(slices.Concat(first, second[:1]), 1, len(first))
		if got := kit.Await(t, "OnMessage", msgs, time.Hour); got != "first" {
			t.Fatalf("got %q, want first", got)
		}
		time.Sleep(2 * time.Second)
		p.Write(second[1:])
		select {
		case got := <-msgs:
			if got != "second" {
				t.Errorf("got %q, want second", got)
			}
		case info := <-e.Closed:
			t.Errorf("closed: %+v, want the second message, of which the first byte was read 2 s before the last", info)
		}
	})
}

func TestMessageTimeoutOff(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{MessageTimeout: -1})}
		p := hailtest.Dial(t, s, "/", opts...)
		for _, b := range [][]byte{kit.Message([]byte("a message")), kit.Fragments(false, []byte("a message"), 3)} {
			p.Write(b[:9])
			time.Sleep(3 * time.Hour)
			p.Write(b[9:])
			kit.Await(t, "OnMessage", e.Msgs, time.Second)
		}
	})
}
