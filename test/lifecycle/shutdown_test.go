package lifecycle_test

// The server's end: Shutdown drains and spreads, Close cuts.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestShutdownClosesWithGoingAway(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		closed := kit.NewCloses()
		ctxs := make(chan context.Context, 4)
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, _ *http.Request) error { ctxs <- c.Context(); return nil },
			OnClose:   closed.Note,
		}}
		var peers []*hailtest.Peer
		for range 4 {
			peers = append(peers, hailtest.Dial(t, s, "/", opts...))
		}
		kit.Until(t, "all connections open", func() bool { return s.Len() == len(peers) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for _, p := range peers {
			if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
				t.Errorf("close frame: got %v, want 1001", got)
			}
			if info := closed.Next(t); info.Code != hail.StatusGoingAway || info.Cause != hail.CauseShutdown || info.Err != nil {
				t.Errorf("CloseInfo: got %+v, want a clean 1001, shutdown", info)
			}
			if err := context.Cause(<-ctxs); !errors.Is(err, hail.ErrServerClosed) || !errors.Is(err, hail.ErrConnClosed) {
				t.Errorf("context's cause: got %v, want ErrServerClosed and ErrConnClosed", err)
			}
		}
		if got := s.Len(); got != 0 {
			t.Errorf("Len: got %d, want 0", got)
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
	})
}

func TestShutdownRefusesNewRequests(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hail.Server) error{
		"Shutdown": func(s *hail.Server) error { return s.Shutdown(context.Background()) },
		"Close":    (*hail.Server).Close,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
			if err := end(s); err != nil {
				t.Errorf("got %v", err)
			}
			got := hailtest.Handshake(t, s, "/")
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || !got.Close {
				t.Errorf("got %s, headers %v, want 503 with Retry-After and Connection: close", got.Status, got.Header)
			}
		})
	}
}

func TestShutdownLetsCallbacksFinishAndFlushes(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		running, finish := make(chan struct{}), make(chan struct{})
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				close(running)
				<-finish
				if err := c.Context().Err(); err != nil {
					t.Errorf("the context of a callback that Shutdown waits for ended: %v", err)
				}
				return c.Send(hail.Text("the answer"))
			},
			OnClose: closed.Note,
		}, Options: hail.Options{Logger: kit.Quiet}}
		p := hailtest.Dial(t, s, "/", opts...)
		p.Send(hail.Text("the question"))
		<-running
		done := make(chan error)
		go func() { done <- s.Shutdown(t.Context()) }()
		idle := hailtest.Handshake(t, s, "/")
		for idle.StatusCode != http.StatusServiceUnavailable { // until Shutdown has begun
			idle = hailtest.Handshake(t, s, "/")
		}
		close(finish)
		if got := p.Receive().String(); got != "the answer" {
			t.Errorf("got %q, want the running callback's answer", got)
		}
		if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
			t.Errorf("close frame: got %v, want 1001", got)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestShutdownCutsAtTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				<-c.Context().Done()
				return nil
			},
			OnClose: closed.Note,
		}, Options: hail.Options{CloseTimeout: time.Minute}}
		good := hailtest.Dial(t, s, "/")
		busy := hailtest.Dial(t, s, "/")
		busy.Send(hail.Text("block"))
		gone := hailtest.Dial(t, s, "/")
		gone.Vanish()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := s.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 of 2 connections cut") {
			t.Errorf("Shutdown: got %v, want that 2 of 2 were cut", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("Shutdown took %v, want the 3 s of its ctx", took)
		}
		if got := good.WaitClose(); got.Code != hail.StatusGoingAway {
			t.Errorf("close frame: got %v, want 1001", got)
		}
		for range 3 {
			if info := closed.Next(t); info.Cause != hail.CauseShutdown {
				t.Errorf("CloseInfo: got %+v, want cause shutdown", info)
			}
		}
	})
}

func TestShutdownTellsOfCallbacksThatDoNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(*hail.Conn, hail.Message) error { <-finish; return nil },
		}}
		p := hailtest.Dial(t, s, "/")
		p.Send(hail.Text("block"))
		synctest.Wait()
		start := time.Now()
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "1 callbacks still run") {
			t.Errorf("Close: got %v, want that a callback still runs", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Close took %v, want CloseTimeout", took)
		}
		close(finish)
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseCutsAtOnce(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, _ hail.Message) error { <-c.Context().Done(); return nil },
			OnClose:   closed.Note,
		}}
		idle := hailtest.Dial(t, s, "/", opts...)
		busy := hailtest.Dial(t, s, "/", opts...)
		busy.Send(hail.Text("block"))
		kit.Until(t, "all connections open", func() bool { return s.Stats().Received == 1 && s.Len() == 2 })
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for _, p := range []*hailtest.Peer{idle, busy} {
			if got := p.WaitClose(); got.Code != hail.StatusAbnormalClosure {
				t.Errorf("close frame: got %v, want none", got)
			}
			if info := closed.Next(t); info.Cause != hail.CauseServerClosed || info.Code != hail.StatusAbnormalClosure {
				t.Errorf("CloseInfo: got %+v, want 1006, server closed", info)
			}
		}
	})
}

// TestShutdownSpreads compares the pace of the closes with the promised one.
func TestShutdownSpreads(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		conns   int
		timeout time.Duration // 0: none
		last    time.Duration // about when the last close is sent
	}{
		"without a deadline": {600, 0, 600 * time.Millisecond},
		"enough time":        {600, time.Minute, 600 * time.Millisecond},
		"less time":          {600, 400 * time.Millisecond, 300 * time.Millisecond},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				times := make(chan time.Time, tc.conns)
				s := &hail.Server{Handler: hail.Handler{
					OnConnect: kit.Accept,
					OnClose:   func(*hail.Conn, hail.CloseInfo) { times <- time.Now() },
				}}
				for range tc.conns {
					hailtest.Dial(t, s, "/")
				}
				synctest.Wait()
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				start := time.Now()
				if err := s.Shutdown(ctx); err != nil {
					t.Fatalf("Shutdown: %v", err)
				}
				close(times)
				quarters := [5]int{}
				var last time.Duration
				for at := range times {
					last = max(last, at.Sub(start))
					quarters[min(4, int(4*at.Sub(start)/tc.last))]++
				}
				if last < tc.last*9/10 || last > tc.last*11/10 {
					t.Errorf("the last close came after %v, want about %v", last, tc.last)
				}
				for i, n := range quarters[:4] {
					if share := tc.conns / 4; n < share*8/10 || n > share*12/10 {
						t.Errorf("quarter %d of the time: %d closes, want about %d", i+1, n, share)
					}
				}
			})
		})
	}
}

// slowHijack is a ResponseWriter that gives its connection away late.
type slowHijack struct{ http.ResponseWriter }

func (w slowHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	time.Sleep(1500 * time.Millisecond)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func TestShutdownCutsAHandshakeThatIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { t.Error("OnConnect was called"); return nil },
		}}
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(slowHijack{w}, r) })
		start := time.Now()
		result := make(chan error)
		go func() {
			time.Sleep(100 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			result <- s.Shutdown(ctx)
		}()
		p := hailtest.Dial(t, slow, "/")
		err := <-result
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 of 1 connections cut") {
			t.Errorf("Shutdown: got %v, want it to tell of the connection and of its context", err)
		}
		if got := s.Stats().Closed; got[hail.CauseShutdown] != 1 {
			t.Errorf("Stats.Closed: got %v, want one by Shutdown", got)
		}
		if took := time.Since(start); took > 1600*time.Millisecond {
			t.Errorf("Shutdown ended after %v, want with the handshake, after 1.5 s", took)
		}
		if got := p.WaitClose(); got.Code != hail.StatusAbnormalClosure {
			t.Errorf("close frame: got %v, want none", got)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			if err := s.Shutdown(over); err != nil {
				t.Fatalf("Shutdown, when all is over: %v", err)
			}
		}
	})
}

func TestSecondShutdownObeysItsContext(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	running := make(chan struct{})
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: kit.Accept,
		OnMessage: func(*hail.Conn, hail.Message) error { close(running); <-finish; return nil },
	}, Options: hail.Options{CloseTimeout: 50 * time.Millisecond, Logger: kit.Quiet}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("block"))
	<-running
	result := make(chan error, 2)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		go func() { result <- s.Shutdown(ctx) }() // ends with Shutdown; its result is waited for
	}
	for i := range 2 {
		select {
		case err := <-result:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: got %v, want its context's error", err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("Shutdown %d has not returned after 5 s, want it at the end of its context, after 100 ms", i+1)
		}
	}
	close(finish)
}

// TestNothingBeginsOnceItIsCut has Close called in the first of many callbacks.
func TestNothingBeginsOnceItIsCut(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		calls := 0
		running := make(chan struct{})
		h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error {
			if calls++; calls == 1 {
				close(running)
			}
			time.Sleep(time.Second)
			return nil
		}})
		s := &hail.Server{Handler: h, Options: hail.Options{Compression: true}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		p.Write(bytes.Repeat(kit.Message([]byte("x")), 100))
		<-running
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		kit.Await(t, "OnClose", e.Closed, time.Nanosecond)
		if calls != 1 {
			t.Errorf("OnMessage was called %d times, want once", calls)
		}
	})
}
