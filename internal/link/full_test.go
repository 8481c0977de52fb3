package link_test

// Send to a peer that does not read: it waits for room in the queue, and its error says why there is none.

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// limited returns a Config with a queue of ten messages. Send waits three seconds for room in it. With forever's Config Send
// waits without limit.
func limited() link.Config {
	cfg := usual()
	cfg.SendQueue, cfg.SendWait = 10_000, 3*time.Second
	return cfg
}

func forever() link.Config {
	cfg := limited()
	cfg.SendWait = -1
	return cfg
}

// full is a link in memory whose peer does not read, and whose queue has no room for another message of 1000 bytes. It is in
// a bubble.
type full struct {
	*owner
	t     *testing.T
	f     *far
	sent  int // messages
	start time.Time
}

// inFull runs a test of a full link.
func inFull(t *testing.T, cfg func() link.Config, test func(*full)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 1000)
		s := &full{t: t}
		s.owner, s.f = connect(t, server, peer, cfg(), link.Negotiation{}, nil)
		for s.room() {
			if s.sent++; s.sent > 100 {
				t.Fatal("the queue is not full after 100 messages")
			}
		}
		s.start = time.Now()
		test(s)
	})
}

// room sends a message, and reports false if there was no room.
func (s *full) room() bool {
	err := s.Send(wire.Fin|wire.Binary, numbered(0, s.sent, 992), false)
	if err == link.ErrFull {
		synctest.Wait() // the pipe may accept a little more
		err = s.Send(wire.Fin|wire.Binary, numbered(0, s.sent, 992), false)
	}
	if err != nil && err != link.ErrFull {
		s.t.Fatalf("Send: %v", err)
	}
	return err == nil
}

// one is the message that does not fit.
func (s *full) one() []byte { return numbered(1, 0, 992) }

// sending starts a Send that has to wait.
func (s *full) sending() <-chan error {
	s.t.Helper()
	result := make(chan error, 1)
	go func() { result <- s.Send(wire.Fin|wire.Binary, s.one(), true) }() // the test waits for its result
	synctest.Wait()
	select {
	case err := <-result:
		s.t.Fatalf("Send = %v at once, want it to wait", err)
	default:
	}
	return result
}

func (s *full) wantErr(what string, got, want error) {
	s.t.Helper()
	if !errors.Is(got, want) {
		s.t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func (s *full) wantAfter(want time.Duration) {
	s.t.Helper()
	if got := time.Since(s.start); got != want {
		s.t.Errorf("after %v, want %v", got, want)
	}
}

func TestSendWithoutWait(t *testing.T) {
	inFull(t, limited, func(s *full) {
		s.wantErr("Send", s.Send(wire.Fin|wire.Binary, s.one(), false), link.ErrFull)
		s.wantAfter(0)
	})
}

func TestSendWaitsForRoom(t *testing.T) {
	t.Run("none for SendWait", func(t *testing.T) {
		inFull(t, limited, func(s *full) {
			s.wantErr("Send", s.Send(wire.Fin|wire.Binary, s.one(), true), link.ErrFull)
			s.wantAfter(3 * time.Second)
		})
	})
	t.Run("too little for SendWait", func(t *testing.T) {
		inFull(t, limited, func(s *full) {
			result := make(chan error, 1)
			go func() { result <- s.Send(wire.Fin|wire.Binary, make([]byte, 9000), true) }()
			for range 2 {
				time.Sleep(time.Second)
				io.ReadFull(s.f.nc, make([]byte, 3000)) // wakes it, in vain
			}
			s.wantErr("Send", <-result, link.ErrFull)
			s.wantAfter(3 * time.Second)
		})
	})
	t.Run("for ever", func(t *testing.T) {
		inFull(t, forever, func(s *full) {
			result := s.sending()
			time.Sleep(24 * time.Hour)
			go s.f.until()
			s.wantErr("Send", <-result, nil)
			s.wantAfter(24 * time.Hour)
		})
	})
	t.Run("room while it waits", func(t *testing.T) {
		inFull(t, limited, func(s *full) {
			result := s.sending()
			time.Sleep(time.Second)
			for i := range s.sent + 1 {
				_, p, err := s.f.frame()
				if err != nil {
					s.t.Fatalf("frame %d: %v", i, err)
				}
				if got := string(p); i < s.sent && got != string(numbered(0, i, 992)) || i == s.sent && got != string(s.one()) {
					s.t.Errorf("frame %d is another, want them in order", i)
				}
			}
			s.wantErr("Send", <-result, nil)
			s.wantAfter(time.Second)
		})
	})
}

func TestManySendsWait(t *testing.T) {
	inFull(t, forever, func(s *full) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { s.wantErr("Send", s.Send(wire.Fin|wire.Binary, s.one(), true), nil) })
		}
		synctest.Wait()
		for range s.sent + 50 {
			if _, _, err := s.f.frame(); err != nil {
				s.t.Fatal(err)
			}
		}
		wg.Wait()
	})
}

// TestEndWhileSendWaits ends the connection in each way while a Send waits for room: it returns at once.
func TestEndWhileSendWaits(t *testing.T) {
	for name, end := range map[string]func(s *full){
		"closed": func(s *full) {
			if !s.Close(link.CloseFrame{Code: 1000}) {
				s.t.Error("Close = false, want true")
			}
		},
		"cut":                       func(s *full) { s.Cut() },
		"abandoned":                 func(s *full) { s.Conn.Abandon(time.Second) },
		"closed by the peer":        func(s *full) { s.f.send(masked(wire.Fin|wire.Close, []byte{3, 0xe8})) },
		"the peer has vanished":     func(s *full) { s.f.nc.(*hailtest.PipeConn).Reset() },
		"the peer has sent its FIN": func(s *full) { s.f.nc.(*hailtest.PipeConn).CloseWrite() },
		"fallen behind":             func(s *full) { s.Slow(errBehind) },
	} {
		t.Run(name, func(t *testing.T) {
			inFull(t, forever, func(s *full) {
				result := s.sending()
				end(s)
				s.wantErr("Send", <-result, link.ErrClosed)
				s.wantErr("Send after it", s.Send(wire.Fin|wire.Binary, s.one(), true), link.ErrClosed)
				s.wantAfter(0)
				s.Cut()
				<-s.done
				s.wantErr("Send after Done", s.Send(wire.Fin|wire.Binary, s.one(), true), link.ErrClosed)
			})
		})
	}
}

func TestStallIsStamped(t *testing.T) {
	inFull(t, limited, func(s *full) {
		if got := s.Stamps.Stall.Get(); got == 0 {
			s.t.Error("Stall is not set, want it to be: a write waits")
		}
		for range s.sent {
			s.f.frame()
		}
		synctest.Wait()
		if got := s.Stamps.Stall.Get(); got != 0 {
			s.t.Errorf("Stall = %v with everything written, want none", got)
		}
	})
}

func TestSendQueueOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 1000)
		o, _ := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		for i := range 1000 {
			if err := o.Send(wire.Fin|wire.Binary, numbered(0, i, 992), false); err != nil {
				t.Fatalf("Send %d: %v", i, err)
			}
		}
	})
}

func TestSendTooLarge(t *testing.T) {
	t.Run("while the queue is full", func(t *testing.T) {
		inFull(t, limited, func(s *full) {
			for _, wait := range []bool{false, true} {
				s.wantErr("Send of what is over the limit", s.Send(wire.Fin|wire.Binary, make([]byte, 10_000), wait), link.ErrTooLarge)
			}
			s.wantAfter(0)
		})
	})
	for name, transport := range transports {
		t.Run("exactly the limit over "+name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{2, 127, 130, 1000} {
				cfg := usual()
				cfg.SendQueue = limit
				server, peer := transport(t, 4096)
				o, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				fits := 0
				for wire.FrameSize(fits+1) <= limit {
					fits++
				}
				for size, want := range map[int]error{fits: nil, fits + 1: link.ErrTooLarge} {
					if err := o.Send(wire.Fin|wire.Binary, make([]byte, size), want != nil); err != want {
						t.Errorf("%s: Send = %v, want %v", fmt.Sprintf("limit %d, %d bytes", limit, size), err, want)
					}
				}
				if h, _, err := f.frame(); h.Length != uint64(fits) || err != nil {
					t.Errorf("limit %d: the peer reads %d bytes, %v, want %d", limit, h.Length, err, fits)
				}
			}
		})
	}
}
