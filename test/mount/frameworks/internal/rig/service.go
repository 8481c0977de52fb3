package rig

// A mounted server over TCP, and its client.

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"example.com/hail"
)

// patience bounds each wait.
const patience = 10 * time.Second

// Service is a framework with a hail server in it, served over TCP.
type Service struct {
	Hail *hail.Server

	http      *httptest.Server
	prefix    string
	returned  chan struct{} // gets one for each request from which the framework has returned
	recovered chan any      // gets what the framework recovered
	accessLog syncBuffer
	errorLog  syncBuffer // net/http's: panics nobody recovered, writes to hijacked connections
}

// Start serves f with server in it until the test's end.
func Start(t *testing.T, f Framework, server *hail.Server) *Service {
	t.Helper()
	s := &Service{Hail: server, prefix: f.Prefix, returned: make(chan struct{}, 16), recovered: make(chan any, 16)}
	if server.Logger == nil {
		server.Logger = slog.New(slog.DiscardHandler)
	}
	framework := f.Mount(server, Hooks{AccessLog: &s.accessLog, Recovered: func(v any) { s.recovered <- v }})
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		framework.ServeHTTP(w, r)
		s.returned <- struct{}{}
	}))
	s.http.Config.ErrorLog = log.New(&s.errorLog, "", 0)
	s.http.Start()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
		s.http.Close()
	})
	return s
}

// Returned waits until the framework has returned from a request.
func (s *Service) Returned(t *testing.T) {
	t.Helper()
	Wait(t, s.returned, "the framework to return from the request")
}

// Dial connects as a browser would to the room blue, with more header fields as key, value, ....
func (s *Service) Dial(t *testing.T, query string, header ...string) *Client {
	t.Helper()
	c, resp, err := s.TryDial(t, query, header...)
	if err != nil {
		t.Fatalf("dial: got %v (%+v), want a connection", err, resp)
	}
	return c
}

// TryDial is Dial that may be refused.
func (s *Service) TryDial(t *testing.T, query string, header ...string) (*Client, *http.Response, error) {
	t.Helper()
	h := http.Header{"Accept-Encoding": {"gzip, deflate, br"}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	url := "ws" + strings.TrimPrefix(s.http.URL, "http") + s.prefix + "/rooms/blue/ws" + query
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: s.http.Client(), HTTPHeader: h})
	if err != nil {
		return nil, resp, err
	}
	t.Cleanup(func() { ws.CloseNow() })
	return &Client{Conn: ws, Response: resp}, resp, nil
}

// Client is a client's connection.
type Client struct {
	*websocket.Conn
	Response *http.Response // to the handshake
}

// Want fails the test unless the next message is the text want.
func (c *Client) Want(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kind, data, err := c.Read(ctx)
	if err != nil || kind != websocket.MessageText || string(data) != want {
		t.Fatalf("read: got %v %q, %v, want text %q", kind, data, err, want)
	}
}

// WantClose fails the test unless a close frame with the code is next.
func (c *Client) WantClose(t *testing.T, want websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kind, data, err := c.Read(ctx)
	if websocket.CloseStatus(err) != want {
		t.Fatalf("read: got %v %q, %v, want a close with %d", kind, data, err, want)
	}
}

// Send sends a text.
func (c *Client) Send(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatalf("write: got %v, want nil", err)
	}
}

// Wait returns what comes from ch, or fails the test.
func Wait[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("got nothing in %v, want %s", patience, what)
		panic("unreachable")
	}
}

// syncBuffer is a buffer that goroutines may share.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
