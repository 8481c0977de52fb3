package lifecycle_test

// Panics, and callbacks that end their goroutine.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestPanicsInOnCloseAndOnErrorAreContained(t *testing.T) {
	t.Parallel()
	reported := make(chan error, 4)
	s := &hail.Server{Handler: hail.Handler{
		OnClose: func(*hail.Conn, hail.CloseInfo) { panic("in OnClose") },
		OnError: func(_ *hail.Conn, err error) { reported <- err; panic("in OnError") },
	}, Options: hail.Options{Logger: kit.Quiet}}
	for range 2 { // the second shows that the server still works
		p := hailtest.Dial(t, s, "/")
		p.Receive()
		p.Close(hail.StatusNormalClosure, "")
		var panicked *hail.PanicError
		if err := <-reported; !errors.As(err, &panicked) || panicked.Value != "in OnClose" {
			t.Errorf("OnError: got %v, want the panic of OnClose", err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := s.Stats().Panics; got != 4 {
		t.Errorf("Stats.Panics: got %d, want 4", got)
	}
}

func TestOneConnectionsPanicLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			if m.String() == "panic" {
				panic("one")
			}
			return hail.Echo(c, m)
		},
	}, Options: hail.Options{Logger: kit.Quiet}}
	other := hailtest.Dial(t, s, "/")
	bad := hailtest.Dial(t, s, "/")
	bad.Send(hail.Text("panic"))
	bad.WaitClose()
	other.Send(hail.Text("still here"))
	if got := other.Receive().String(); got != "still here" {
		t.Errorf("got %q, want the echo", got)
	}
}

// nilErr is an error whose methods panic: a nil pointer in an error.
type nilErr struct{ text string }

func (e *nilErr) Error() string { return e.text }

func TestErrorsWhoseMethodsPanicAreContained(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"nil pointer": (*nilErr)(nil), "nil CloseError": (*hail.CloseError)(nil)} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, OnError set: %v", name, told), func(t *testing.T) {
				t.Parallel()
				closed := kit.NewCloses()
				h := hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return err }, OnClose: closed.Note}
				if told {
					h.OnError = func(*hail.Conn, error) {}
				}
				s := &hail.Server{Handler: h, Options: hail.Options{
					Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))}}
				p := hailtest.Dial(t, s, "/")
				p.Send(hail.Text("go"))
				if got := p.WaitClose(); got.Code != hail.StatusInternalError {
					t.Errorf("close frame: got %v, want 1011", got)
				}
				if info := closed.Next(t); info.Cause != hail.CausePanic {
					t.Errorf("CloseInfo: got %+v, want a panic", info)
				}
			})
		}
	}
}

func TestFramesBehindAGoexitAreRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(*hail.Conn, hail.Message) error { runtime.Goexit(); return nil },
			OnClose:   closed.Note,
		}, Options: hail.Options{Logger: kit.Quiet}}
		p := hailtest.Dial(t, s, "/", hailtest.Raw())
		start := time.Now()
		p.Write(slices.Concat(hailtest.Frame{Fin: true, Opcode: hailtest.OpText}.Bytes(), hailtest.CloseFrame(1000, "").Bytes()))
		if info := closed.Next(t); info.Err == nil || time.Since(start) > time.Second {
			t.Errorf("OnClose after %v: %+v, want it at once", time.Since(start), info)
		}
	})
}

func TestOnCloseComesBehindAnOnErrorThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnError: func(*hail.Conn, error) { runtime.Goexit() }})
		s := &hail.Server{Handler: h, Options: hail.Options{MessageTimeout: time.Second}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		p.Write(kit.Message([]byte("half"))[:8])
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusPolicyViolation, hail.CauseMessageTimeout, false)
	})
}

// treacherous is an error whose own methods panic, as a nil pointer in an error does.
type treacherous struct{}

func TestPanicsWithErrorsWhoseMethodsPanicAreContained(t *testing.T) {
	t.Parallel()
	var missing *fs.PathError
	for name, value := range map[string]error{"its Is": treacherous{}, "all": missing} {
		for _, callback := range []string{"OnConnect", "OnMessage", "OnClose", "OnError"} {
			for _, told := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", callback, " ", told), func(t *testing.T) {
					t.Parallel()
					kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
						boom := func(in string) error {
							if in == callback {
								panic(value)
							}
							return io.EOF
						}
						errs, closed := make(chan error, 10), make(chan hail.CloseInfo, 1)
						s := &hail.Server{Options: hail.Options{Logger: slog.New(slog.DiscardHandler), Compression: true}, Handler: hail.Handler{
							OnConnect: func(*hail.Conn, *http.Request) error {
								boom("OnConnect")
								return nil
							},
							OnMessage: func(*hail.Conn, hail.Message) error { return boom("OnMessage") },
							OnClose: func(_ *hail.Conn, info hail.CloseInfo) {
								closed <- info
								boom("OnClose")
							},
						}}
						if told {
							s.OnError = func(_ *hail.Conn, err error) {
								errs <- err
								boom("OnError")
							}
						}
						p := hailtest.Dial(t, s, "/", opts...)
						if callback != "OnConnect" {
							p.Send(hail.Text("go"))
						}
						if got := p.WaitClose(); got.Code != hail.StatusInternalError {
							t.Errorf("got %v, want 1011", got)
						}
						info := kit.Await(t, "OnClose", closed, time.Hour)
						var panicked *hail.PanicError
						if inFirst := callback == "OnConnect" || callback == "OnMessage"; inFirst != errors.As(info.Err, &panicked) {
							t.Errorf("got %+v", info)
						} else if inFirst && panicked.Value != any(value) {
							t.Errorf("got the panic's value %v, want %v", panicked.Value, value)
						}
						if told && len(errs) == 0 {
							t.Error("OnError was not called")
						}
						synctest.Wait()
						if want := map[bool]uint64{true: 1}[callback != "OnError" || told]; s.Stats().Panics != want {
							t.Errorf("Stats.Panics: got %d, want %d", s.Stats().Panics, want)
						}
					})
				})
			}
		}
	}
}

func TestPanicWithTheConnectionsEndIsTold(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.Close(hail.StatusNormalClosure, "")
			panic(c.Send(m))
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		p.Send(hail.Text("go"))
		var panicked *hail.PanicError
		if err := kit.Await(t, "OnError", e.Errs, kit.Ample); !errors.As(err, &panicked) {
			t.Errorf("OnError: got %v, want the panic", err)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CauseClosed, true)
	})
}
