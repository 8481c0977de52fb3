package rig

// The expectations.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"example.com/hail"
)

const (
	byToken = "?token=t-anna"
	session = "session=s-berta" // a Cookie
)

// Run tests that a hail server works within f.
func Run(t *testing.T, f Framework) {
	tests := []struct {
		name string
		test func(*testing.T, Framework)
	}{
		{"exchange", testExchange},
		{"unauthorized", testUnauthorized},
		{"context values", testContextValues},
		{"path value", testPathValue},
		{"connection outlives the request", testOutlives},
		{"headers set in front", testHeaders},
		{"panic", testPanic},
		{"not an upgrade", testNotUpgrade},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, f)
		})
	}
}

func testExchange(t *testing.T, f Framework) {
	s := Start(t, f, &hail.Server{})
	c := s.Dial(t, byToken)
	c.Want(t, hail.DefaultGreeting)
	c.Send(t, "hello")
	c.Want(t, hail.DefaultReply)
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: got %v, want nil", err)
	}
}

func testUnauthorized(t *testing.T, f Framework) {
	s := Start(t, f, &hail.Server{})
	_, resp, err := s.TryDial(t, "?token=wrong", "Cookie", "session=old")
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("dial: got %+v, %v, want 401", resp, err)
	}
	s.Returned(t)
	if got := s.Hail.Stats().Accepted; got != 0 {
		t.Errorf("accepted: got %d, want 0", got)
	}
}

func testContextValues(t *testing.T, f Framework) {
	users := make(chan string, 3)
	s := Start(t, f, &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, _ *http.Request) error {
			users <- "OnConnect " + User(c.Context())
			return nil
		},
		OnMessage: func(c *hail.Conn, _ hail.Message) error {
			users <- "OnMessage " + User(c.Context())
			return c.Close(hail.StatusNormalClosure, "")
		},
		OnClose: func(c *hail.Conn, _ hail.CloseInfo) { users <- "OnClose " + User(c.Context()) },
	}})
	c := s.Dial(t, "", "Cookie", session)
	c.Send(t, "hello")
	c.WantClose(t, websocket.StatusNormalClosure)
	for _, want := range []string{"OnConnect berta", "OnMessage berta", "OnClose berta"} {
		if got := Wait(t, users, want); got != want {
			t.Errorf("user: got %q, want %q", got, want)
		}
	}
}

func testPathValue(t *testing.T, f Framework) {
	s := Start(t, f, &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error { return c.Send(hail.Text("room " + r.PathValue("room"))) },
	}})
	s.Dial(t, byToken).Want(t, "room blue")
}

// testOutlives has everything that the framework gave to the request end, before the first message is sent.
func testOutlives(t *testing.T, f Framework) {
	requests := make(chan context.Context, 1)
	s := Start(t, f, &hail.Server{Handler: hail.Handler{
		OnConnect: func(_ *hail.Conn, r *http.Request) error {
			requests <- r.Context()
			return nil
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			return c.Send(hail.Text(fmt.Sprint(m, " ", User(c.Context()), " ", c.Context().Err())))
		},
	}})
	c := s.Dial(t, byToken)
	request := Wait(t, requests, "OnConnect")
	s.Returned(t)
	Wait(t, request.Done(), "the request's context to end")
	if got, want := s.accessLog.String(), "/rooms/blue/ws"; strings.Count(got, want) != 1 {
		t.Errorf("access log: got %q, want one line with %q", got, want)
	}
	for _, text := range []string{"one", "two"} {
		c.Send(t, text)
		c.Want(t, text+" anna <nil>")
	}
	if got := s.errorLog.String(); got != "" {
		t.Errorf("http.Server.ErrorLog: got %q, want nothing", got)
	}
}

func testHeaders(t *testing.T, f Framework) {
	s := Start(t, f, &hail.Server{})
	got := s.Dial(t, byToken).Response.Header
	if cookie, want := got.Values("Set-Cookie"), NewCookie().String(); len(cookie) != 1 || cookie[0] != want {
		t.Errorf("Set-Cookie: got %q, want %q once", cookie, want)
	}
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding"} {
		if v := got.Values(name); len(v) > 0 {
			t.Errorf("%s: got %q on a response without a body, want none", name, v)
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept"} {
		if v := got.Values(name); len(v) != 1 {
			t.Errorf("%s: got %q, want one", name, v)
		}
	}
}

func testPanic(t *testing.T, f Framework) {
	type end struct {
		err  error
		info hail.CloseInfo
	}
	ends := make(chan end, 1)
	var last error // OnError comes before OnClose
	s := Start(t, f, &hail.Server{Handler: hail.Handler{
		OnConnect: func(_ *hail.Conn, r *http.Request) error {
			if r.URL.Query().Has("connect") {
				panic("OnConnect's")
			}
			return nil
		},
		OnMessage: func(*hail.Conn, hail.Message) error { panic("OnMessage's") },
		OnError:   func(_ *hail.Conn, err error) { last = err },
		OnClose:   func(_ *hail.Conn, info hail.CloseInfo) { ends <- end{last, info} },
	}})
	for _, tt := range []struct{ query, send, want string }{
		{byToken + "&connect", "", "OnConnect's"},
		{byToken, "hello", "OnMessage's"},
	} {
		c := s.Dial(t, tt.query)
		if tt.send != "" {
			c.Send(t, tt.send)
		}
		c.WantClose(t, websocket.StatusInternalError)
		s.Returned(t)
		got := Wait(t, ends, "OnClose")
		var p *hail.PanicError
		if !errors.As(got.err, &p) || p.Value != tt.want || got.info.Cause != hail.CausePanic {
			t.Errorf("panic: got %v, %+v, want a PanicError of %q", got.err, got.info, tt.want)
		}
	}
	select {
	case v := <-s.recovered:
		t.Errorf("the framework recovered %v, want nothing", v)
	default:
	}

	// And the framework would have told.
	resp, err := s.http.Client().Get(s.http.URL + s.prefix + "/panic")
	if err != nil {
		t.Fatalf("GET /panic: got %v, want a response", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("GET /panic: got %s, want 500", resp.Status)
	}
	Wait(t, s.recovered, "the framework's recovery of a handler's panic")
}

func testNotUpgrade(t *testing.T, f Framework) {
	s := Start(t, f, &hail.Server{})
	resp, err := s.http.Client().Get(s.http.URL + s.prefix + "/rooms/blue/ws" + byToken)
	if err != nil {
		t.Fatalf("GET: got %v, want a response", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusUpgradeRequired || resp.Header.Get("Upgrade") != "websocket" || !resp.Close {
		t.Errorf("got %s, Upgrade: %s, close %v, want 426, websocket, true", resp.Status, resp.Header.Get("Upgrade"), resp.Close)
	}
	if want := "WebSocket"; err != nil || !strings.Contains(string(body), want) {
		t.Errorf("body: got %q, %v, want a sentence with %q", body, err, want)
	}
}
