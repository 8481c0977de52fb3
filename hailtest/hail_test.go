package hailtest_test

// The kit against a hail server.

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestHail(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		hailtest.NoLeaks(t)
		closed := make(chan hail.CloseInfo, 1)
		s := &hail.Server{
			Options: hail.Options{Compression: true},
			Handler: hail.Handler{OnConnect: hail.Greet(hail.Text("hello")), OnMessage: hail.Echo, OnClose: func(c *hail.Conn, info hail.CloseInfo) { closed <- info }},
		}
		t.Cleanup(func() { s.Close() })
		p := hailtest.Dial(t, s, "/", opts...)
		if got := p.Receive(); got.String() != "hello" {
			t.Errorf("got greeting %q, want hello", got)
		}
		for _, want := range []string{"hi", zeros(5000), zeros(60_000)} {
			p.Send(hail.Text(want))
			if got := p.Receive(); got.String() != want {
				t.Errorf("got %d bytes, want the %d sent", len(got.Data), len(want))
			}
		}
		if got := p.Close(4000, "bye"); got.Code != 4000 {
			t.Errorf("Close: got %v, want code 4000", got)
		}
		if got := <-closed; got.Code != 4000 || got.Reason != "bye" {
			t.Errorf("OnClose: got %+v, want code 4000, reason bye", got)
		}
	})
}

func TestHailInABubble(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hailtest.Option{"plain": nil, "tls": {hailtest.TLS(nil)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				closed := make(chan hail.CloseInfo, 1)
				s := &hail.Server{Handler: hail.Handler{OnClose: func(c *hail.Conn, info hail.CloseInfo) { closed <- info }}}
				t.Cleanup(func() { s.Close() })
				p := hailtest.Dial(t, s, "/", opts...)
				p.Receive()
				start := time.Now()
				p.Vanish()
				info := <-closed
				if info.Cause != hail.CausePingTimeout || time.Since(start) > time.Minute {
					t.Errorf("got %+v after %v, want a ping timeout within a minute", info, time.Since(start))
				}
			})
		})
	}
}
