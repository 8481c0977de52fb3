package lifecycle_test

// A logger that panics: it costs its lines, and nothing else.

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// bomb is a slog.Handler that panics: in Enabled, or in Handle for lines that have the text.
type bomb struct {
	enabled bool
	text    string
}

func (b bomb) Enabled(context.Context, slog.Level) bool {
	if b.enabled {
		panic("Enabled")
	}
	return true
}

func (b bomb) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, b.text) {
		panic(r.Message)
	}
	return nil
}

func (b bomb) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b bomb) WithGroup(string) slog.Handler      { return b }

func TestLoggerPanics(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bomb   bomb
		panics uint64 // of the conversation below, that of OnClose among them
	}{
		"connected": {bomb{text: "connected"}, 2},
		"message":   {bomb{text: "message"}, 3},
		"error":     {bomb{text: "error"}, 3},
		"closed":    {bomb{text: "closed"}, 2},
		"refused":   {bomb{text: "refused"}, 2},
		"Handle":    {bomb{}, 8},
		"Enabled":   {bomb{enabled: true}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				closed := make(chan hail.CloseInfo, 1)
				s := &hail.Server{
					Handler: hail.Handler{
						OnConnect: kit.Accept,
						OnMessage: func(c *hail.Conn, m hail.Message) error {
							if m.String() == "fail" {
								return errors.New("failed")
							}
							return c.Send(m)
						},
						OnClose: func(_ *hail.Conn, info hail.CloseInfo) {
							closed <- info
							panic("OnClose")
						},
					},
					Options: hail.Options{Logger: slog.New(tc.bomb)},
				}
				p := hailtest.Dial(t, s, "/", opts...)
				p.Send(hail.Text("hi"))
				if got := p.Receive(); got.String() != "hi" {
					t.Errorf("got %q, want hi", got)
				}
				p.Send(hail.Text("fail"))
				p.WaitClose()
				if info := kit.Await(t, "OnClose", closed, kit.Ample); info.Cause != hail.CauseCallback {
					t.Errorf("got cause %v, want %v", info.Cause, hail.CauseCallback)
				}
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				if w.Code != http.StatusUpgradeRequired {
					t.Errorf("a plain request: got %d, want 426", w.Code)
				}
				if err := s.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if got := s.Stats().Panics; got != tc.panics {
					t.Errorf("got %d panics, want %d", got, tc.panics)
				}
			})
		})
	}
}

// errorOnce is an error of a callback whose text can be had once: hail reads it before it is logged.
type errorOnce struct{ asked int }

func (e *errorOnce) Error() string {
	if e.asked++; e.asked > 1 {
		panic("Error")
	}
	return "once"
}

func TestErrorPanicsInTheLog(t *testing.T) {
	t.Parallel()
	logger, _ := kit.NewLogbook()
	s := &hail.Server{
		Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(*hail.Conn, hail.Message) error { return new(errorOnce) },
		},
		Options: hail.Options{Logger: logger},
	}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("hi"))
	p.WaitClose()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := s.Stats().Panics; got == 0 {
		t.Error("got no panics, want those of the log")
	}
}
