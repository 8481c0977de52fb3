package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

func TestGreetsAnswersAndPrints(t *testing.T) {
	t.Parallel()
	var out printed
	ws := newServer(slog.New(slog.NewTextHandler(&out, nil)))
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

func TestServesThePage(t *testing.T) {
	t.Parallel()
	handler := routes(newServer(slog.New(slog.DiscardHandler)))
	for path, want := range map[string]int{"/": http.StatusOK, "/elsewhere": http.StatusNotFound} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("GET %s: got status %d, want %d", path, w.Code, want)
		}
		if isPage := w.Body.String() == string(page); isPage != (want == http.StatusOK) {
			t.Errorf("GET %s: got the page: %t", path, isPage)
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
	go func() { ended <- serve(ctx, ln, slog.New(slog.NewTextHandler(&out, nil))) }()

	p := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws")
	p.Receive()
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

// printed keeps what several connections print.
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
