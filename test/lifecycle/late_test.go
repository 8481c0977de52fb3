package lifecycle_test

// Handshakes that end after the server's end has begun.

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// heldHijack is a ResponseWriter that gives its connection away after it was released.
type heldHijack struct {
	http.ResponseWriter
	held, release chan struct{}
}

func (w heldHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	close(w.held)
	<-w.release
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// dialLate dials a server whose end begins during the handshake. Each end is called when the one before it waits.
func dialLate(t *testing.T, s *hail.Server, ends ...func()) *hailtest.Peer {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	go func() { // ends once the handshake goes on
		<-held
		for _, end := range ends {
			go end()
			synctest.Wait()
		}
		close(release)
	}()
	return hailtest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(heldHijack{w, held, release}, r)
	}), "/")
}

func silent(t *testing.T) *hail.Server {
	return &hail.Server{Handler: hail.Handler{
		OnConnect: func(*hail.Conn, *http.Request) error { t.Error("OnConnect was called"); return nil },
		OnClose:   func(*hail.Conn, hail.CloseInfo) { t.Error("OnClose was called") },
	}}
}

func TestShutdownDrainsALateHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, result := silent(t), make(chan error, 1)
		p := dialLate(t, s, func() { result <- s.Shutdown(context.Background()) })
		if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
			t.Errorf("close frame: got %v, want 1001", got)
		}
		if err := <-result; err != nil {
			t.Errorf("Shutdown: got %v, want nil", err)
		}
		if got := s.Stats().Closed; got[hail.CauseShutdown] != 1 || len(got) != 1 {
			t.Errorf("Stats.Closed: got %v, want one by Shutdown", got)
		}
	})
}

func TestFirstCutSaysWhyALateHandshakeIsCut(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for name, want := range map[string]hail.Cause{"Shutdown": hail.CauseShutdown, "Close": hail.CauseServerClosed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, done := silent(t), make(chan struct{}, 2)
				ends := []func(){func() { s.Shutdown(over); done <- struct{}{} }, func() { s.Close(); done <- struct{}{} }}
				if name == "Close" {
					ends[0], ends[1] = ends[1], ends[0]
				}
				p := dialLate(t, s, ends...)
				if got := p.WaitClose(); got.Code != hail.StatusAbnormalClosure {
					t.Errorf("close frame: got %v, want none", got)
				}
				for range ends {
					<-done
				}
				if got := s.Stats().Closed; got[want] != 1 || len(got) != 1 {
					t.Errorf("Stats.Closed: got %v, want one by %v", got, want)
				}
			})
		})
	}
}
