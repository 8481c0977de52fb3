package topics_test

// The first broadcast, beside connections that open.

import (
	"net/http"
	"runtime"
	"sync"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestFirstBroadcastComesOnce has many connections open while the first broadcast is on its way.
func TestFirstBroadcastComesOnce(t *testing.T) {
	t.Parallel()
	for range kit.Often(60) {
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
		s.OnConnect = func(*hail.Conn, *http.Request) error { return nil }
		const conns = 40
		peers := make([]*hailtest.Peer, conns)
		var all sync.WaitGroup
		for i := range peers {
			all.Go(func() { peers[i] = hailtest.Dial(t, s, "/") })
		}
		all.Go(func() {
			for s.Len() < conns/4 {
				runtime.Gosched()
			}
			s.Broadcast(hail.Text("first"))
		})
		all.Wait()
		kit.Until(t, "all are open", func() bool { return s.Len() == conns })
		s.Broadcast(hail.Text("end"))
		for _, p := range peers {
			got := make(map[string]int)
			for got["end"] == 0 {
				got[p.Receive().String()]++
			}
			if got["first"] > 1 {
				t.Fatalf("the first broadcast comes %d times, want once at the most", got["first"])
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
