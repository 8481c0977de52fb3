package lifecycle_test

// Ends of a connection that cross each other.

import (
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
		kit.CheckClosed(t, info, hail.StatusProtocolError, hail.CauseProtocol, false)
		kit.CheckNames(t, info.Err, "close frame with code 999")
		if got := s.Stats().Closed; got[hail.CauseProtocol] != 1 || len(got) != 1 {
			t.Errorf("Stats.Closed: got %v, want one by the protocol", got)
		}
	})
}
