package main

import (
	"context"
	"net"
	"net/http"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

func TestEchoKnowsTheRoomAndTheUser(t *testing.T) {
	t.Parallel()
	handler := routes(newEcho(), newGreet())
	alice := hailtest.Dial(t, handler, "/echo/lobby?token=alice-token")
	bob := hailtest.Dial(t, handler, "/echo/a%2Fb", hailtest.Header("Cookie", "session=bob-session"))
	for _, word := range []string{"one", "two"} {
		if got, want := ask(alice, word), "lobby/alice: "+word; got != want {
			t.Errorf("alice's reply: got %q, want %q", got, want)
		}
		if got, want := ask(bob, word), "a/b/bob: "+word; got != want {
			t.Errorf("bob's reply: got %q, want %q", got, want)
		}
	}
}

func TestGreetKnowsTheUser(t *testing.T) {
	t.Parallel()
	p := hailtest.Dial(t, routes(newEcho(), newGreet()), "/greet", hailtest.Header("Cookie", "session=alice-session"))
	if got, want := p.Receive().String(), "hello alice"; got != want {
		t.Errorf("greeting: got %q, want %q", got, want)
	}
	if got, want := ask(p, "anything"), hail.DefaultReply; got != want {
		t.Errorf("reply: got %q, want %q", got, want)
	}
}

func TestRefusesStrangers(t *testing.T) {
	t.Parallel()
	handler := routes(newEcho(), newGreet())
	tests := map[string]struct {
		target, cookie, origin string
		want                   int
	}{
		"no token":          {target: "/greet", want: http.StatusUnauthorized},
		"wrong token":       {target: "/echo/lobby?token=mallory", want: http.StatusUnauthorized},
		"wrong session":     {target: "/greet", cookie: "session=mallory", want: http.StatusUnauthorized},
		"wrong token first": {target: "/greet?token=mallory", cookie: "session=bob-session", want: http.StatusUnauthorized},
		"no room":           {target: "/echo/?token=bob-token", want: http.StatusNotFound},
		"another site":      {target: "/greet", cookie: "session=bob-session", origin: "https://elsewhere.example", want: http.StatusForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := hailtest.Handshake(t, handler, test.target,
				hailtest.Header("Cookie", test.cookie), hailtest.Header("Origin", test.origin))
			if resp.StatusCode != test.want {
				t.Errorf("handshake: got status %d, want %d", resp.StatusCode, test.want)
			}
		})
	}
}

func TestDrains(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, ln) }()

	url := "ws://" + ln.Addr().String()
	greeted := hailtest.DialURL(t, url+"/greet?token=alice-token")
	greeted.Receive()
	echoed := hailtest.DialURL(t, url+"/echo/lobby?token=alice-token")
	ask(echoed, "hello")
	stop()
	for _, p := range []*hailtest.Peer{greeted, echoed} {
		if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
			t.Errorf("close: got %v, want %v", got, hail.StatusGoingAway)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: got %v, want nil", err)
	}
}

// ask sends a message and returns the next one.
func ask(p *hailtest.Peer, message string) string {
	p.Send(hail.Text(message))
	return p.Receive().String()
}
