package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/hail"
	"example.com/hail/examples/wechat"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

func TestGreetsAnswersAndPrints(t *testing.T) {
	t.Parallel()
	var out printed
	ws := newDefault(&out)
	p := hailtest.Dial(t, routes(ws), "/ws?token=s3cret")
	if got := p.Receive().String(); got != hail.DefaultGreeting {
		t.Errorf("greeting: got %q, want %q", got, hail.DefaultGreeting)
	}
	for _, data := range []string{"hello", "", "line\nbreak"} {
		p.Send(hail.Text(data))
		if got := p.Receive().String(); got != hail.DefaultReply {
			t.Errorf("reply to %q: got %q, want %q", data, got, hail.DefaultReply)
		}
	}
	p.Close(4001, "had enough")
	if err := ws.Shutdown(t.Context()); err != nil { // returns after the last OnClose
		t.Errorf("Shutdown: got %v, want nil", err)
	}

	got := out.String()
	for _, want := range []string{
		"msg=open conn=1 path=/ws\n",
		"data=hello\n",
		"data=\"\"\n",
		`data="line\nbreak"`,
		`code=4001 reason="had enough"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("printed:\n%swant %q in it", got, want)
		}
	}
	if strings.Contains(got, "s3cret") {
		t.Errorf("printed:\n%swant no part of the query", got)
	}
}

func TestServesThePageAndItsClient(t *testing.T) {
	t.Parallel()
	handler := routes(newDefault(io.Discard))
	for path, want := range map[string]struct {
		status          int
		mediaType, body string
	}{
		"/":          {http.StatusOK, "text/html", page},
		"/socket.js": {http.StatusOK, "text/javascript", wechat.Socket},
		"/elsewhere": {http.StatusNotFound, "text/plain", "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want.status {
			t.Errorf("GET %s: got status %d, want %d", path, w.Code, want.status)
		}
		if got := w.Header().Get("Content-Type"); got != want.mediaType+"; charset=utf-8" {
			t.Errorf("GET %s: got Content-Type %q, want %s", path, got, want.mediaType)
		}
		if got := w.Body.String(); got != want.body {
			t.Errorf("GET %s: got %d bytes %.40q, want %d bytes %.40q", path, len(got), got, len(want.body), want.body)
		}
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
	var out printed
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(&out, nil))
	go func() { ended <- serve(ctx, ln, newServer(log, "hello", "yes?"), log) }()

	p := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws")
	if got := p.Receive().String(); got != "hello" {
		t.Errorf("greeting: got %q, want hello", got)
	}
	stop()
	if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
		t.Errorf("close: got %v, want %v", got, hail.StatusGoingAway)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: got %v, want nil", err)
	}
	if got, want := out.String(), `msg=close conn=1 code=1001 reason="" cause=shutdown`; !strings.Contains(got, want) {
		t.Errorf("printed:\n%swant %q in it", got, want)
	}
}

func newDefault(out io.Writer) *hail.Server {
	return newServer(slog.New(slog.NewTextHandler(out, nil)), hail.DefaultGreeting, hail.DefaultReply)
}

// printed keeps the lines that several connections print.
type printed struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}
