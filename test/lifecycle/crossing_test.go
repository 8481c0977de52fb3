package lifecycle_test

// Ends of a connection that cross each other.

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestMalformedCloseFrameAfterACallbackGaveUp has a callback return the error of a Send that could not be written. The peer, which can
// still be read, then sends a close frame that breaks the protocol.
func TestMalformedCloseFrameAfterACallbackGaveUp(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		broken := make(chan struct{})
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, _ hail.Message) error {
			<-broken
			return sendUntil(c)
		}})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{CloseTimeout: time.Minute, WriteTimeout: time.Hour})}
		p, silence := mute(t, s, opts)
		p.Write(kit.Message([]byte("x")))
		silence()
		close(broken)
		synctest.Wait()
		p.Write(hailtest.CloseFrame(999, "").Bytes())
		info := kit.Await(t, "OnClose", e.Closed, time.Second)
		kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CauseProtocol, false)
		kit.CheckNames(t, info.Err, "close frame with code 999")
		if got := s.Stats().Closed; got[hail.CauseProtocol] != 1 || len(got) != 1 {
			t.Errorf("Stats.Closed: got %v, want one by the protocol", got)
		}
		if len(e.Errs) != 1 {
			t.Errorf("OnError was called %d times, want once", len(e.Errs))
		}
	})
}

// TestFinWhileTheCloseFrameWaits has a peer end its sending direction while our close frame waits after data that it does not read.
// Its connection goes on, so that it may read the close frame, but its context ends.
func TestFinWhileTheCloseFrameWaits(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{Logger: kit.Quiet}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		for c.TrySend(hail.Binary(kit.Noise(100_000))) == nil {
		}
		if err := c.Close(4000, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		start := time.Now()
		p.CloseWrite()
		kit.Await(t, "the context's end", c.Context().Done(), kit.Ample)
		if took := time.Since(start); took > 5*time.Second { // WriteTimeout is 10 s
			t.Errorf("the context ended after %v, want at once", took)
		}
		p.Resume()
		if got := p.WaitClose(); got.Code != 4000 {
			t.Errorf("close frame: got %v, want 4000", got)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), 4000, hail.CauseClosed, false)
	})
}

// TestContextsCauseHasNoCodeThatWasNotSent has a connection cut while its close frame waits.
func TestContextsCauseHasNoCodeThatWasNotSent(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: time.Second})}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		ctx := c.Context()
		p.Stall()
		for c.TrySend(hail.Binary(kit.Noise(100_000))) == nil {
		}
		if err := c.Close(4000, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		<-ctx.Done()
		var told hail.CloseError
		if errors.As(context.Cause(ctx), &told); told.Code != hail.StatusAbnormalClosure || told.Reason != "" {
			t.Errorf("the context's cause: got %v, want 1006", context.Cause(ctx))
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusAbnormalClosure, hail.CauseClosed, false)
	})
}
