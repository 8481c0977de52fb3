package lifecycle_test

// The errors that callbacks return, and the ways in which they are reported.

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestCallbackErrors has each callback fail in each way.
func TestCallbackErrors(t *testing.T) {
	t.Parallel()
	secret := errors.New("password=hunter2")
	long := strings.Repeat("é", 100)
	cases := map[string]struct {
		fail   func() error
		code   hail.StatusCode
		reason string
		cause  hail.Cause
	}{
		"error":              {func() error { return secret }, 1011, "internal error", hail.CauseCallback},
		"close error":        {func() error { return hail.CloseError{Code: 4001, Reason: "no"} }, 4001, "no", hail.CauseCallback},
		"wrapped":            {func() error { return fmt.Errorf("%w: %w", secret, hail.CloseError{Code: 4002}) }, 4002, "", hail.CauseCallback},
		"long reason":        {func() error { return hail.CloseError{Code: 4003, Reason: long} }, 4003, long[:122], hail.CauseCallback},
		"code not for peers": {func() error { return hail.CloseError{Code: 1006, Reason: "x"} }, 1011, "internal error", hail.CauseCallback},
		"panic":              {func() error { panic(secret) }, 1011, "internal error", hail.CausePanic},
		"panic out of range": {func() error { return []error{}[len(secret.Error())] }, 1011, "internal error", hail.CausePanic},
		"goexit":             {func() error { runtime.Goexit(); return nil }, 1011, "internal error", hail.CausePanic},
	}
	for name, tc := range cases {
		for _, where := range []string{"OnConnect", "OnMessage"} {
			t.Run(where+" "+name, func(t *testing.T) {
				t.Parallel()
				kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
					closed := kit.NewCloses()
					failures := make(chan error, 4)
					h := hail.Handler{
						OnConnect: kit.Accept,
						OnClose:   closed.Note,
						OnError:   func(_ *hail.Conn, err error) { failures <- err },
					}
					if where == "OnConnect" {
						h.OnConnect = func(*hail.Conn, *http.Request) error { return tc.fail() }
					} else {
						h.OnMessage = func(*hail.Conn, hail.Message) error { return tc.fail() }
					}
					s := &hail.Server{Handler: h}
					p := hailtest.Dial(t, s, "/", opts...)
					if where == "OnMessage" {
						p.Send(hail.Text("go"))
					}
					if got := p.WaitClose(); got.Code != tc.code || got.Reason != tc.reason {
						t.Errorf("close frame: got %v, want %d %q", got, tc.code, tc.reason)
					}
					info := closed.Next(t)
					if info.Code != tc.code || info.Reason != tc.reason || info.Cause != tc.cause || info.Err == nil {
						t.Errorf("CloseInfo: got %+v, want %d %q %v and an error", info, tc.code, tc.reason, tc.cause)
					}
					err := <-failures
					var panicked *hail.PanicError
					if isPanic := errors.As(err, &panicked); isPanic != strings.HasPrefix(name, "panic") {
						t.Errorf("OnError: got %v (%T)", err, err)
					} else if isPanic && !bytes.Contains(panicked.Stack, []byte("errors_test.go")) {
						t.Errorf("stack without the callback:\n%s", panicked.Stack)
					}
					if len(failures) > 0 {
						t.Errorf("OnError was called again: %v", <-failures)
					}
					if len(closed) > 0 {
						t.Errorf("OnClose was called again: %+v", <-closed)
					}
				})
			})
		}
	}
}

func TestAnotherConnectionsEndIsNotACloseErrorOfThisOne(t *testing.T) {
	t.Parallel()
	var first *hail.Conn
	connected := make(chan struct{}, 2)
	closed := kit.NewCloses()
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, _ *http.Request) error {
			if first == nil {
				first = c
			}
			connected <- struct{}{}
			return nil
		},
		OnMessage: func(_ *hail.Conn, m hail.Message) error { return fmt.Errorf("relay: %w", first.Send(m)) },
		OnClose:   closed.Note,
	}, Options: hail.Options{Logger: kit.Quiet}}
	gone := hailtest.Dial(t, s, "/")
	<-connected
	gone.Close(4000, "their secret")
	closed.Next(t)
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("hello"))
	if got := p.WaitClose(); got.Code != hail.StatusInternalError || got.Reason != "internal error" {
		t.Errorf("close frame: got %v, want a plain 1011", got)
	}
	if info := closed.Next(t); info.Cause != hail.CauseCallback || !errors.Is(info.Err, hail.ErrConnClosed) {
		t.Errorf("CloseInfo: got %+v, want a callback error, ErrConnClosed", info)
	}
}

func TestReplyToALostPeerIsNoCallbackError(t *testing.T) {
	t.Parallel()
	for _, leave := range []string{"RST", "FIN"} {
		t.Run(leave, func(t *testing.T) {
			t.Parallel()
			running, gone := make(chan struct{}), make(chan struct{})
			closed := kit.NewCloses()
			s := &hail.Server{Handler: hail.Handler{
				OnConnect: kit.Accept,
				OnMessage: func(c *hail.Conn, m hail.Message) error {
					close(running)
					<-gone
					for range 1000 { // until the system has noticed
						if err := c.Send(m); err != nil {
							return err
						}
					}
					return nil
				},
				OnError: func(_ *hail.Conn, err error) { t.Errorf("OnError: %v", err) },
				OnClose: closed.Note,
			}}
			p := hailtest.Dial(t, s, "/", hailtest.TCP())
			p.Send(hail.Text("hello"))
			<-running
			if leave == "RST" {
				p.Reset()
			} else {
				p.NetConn().Close()
			}
			close(gone)
			if info := closed.Next(t); info.Cause != hail.CausePeerGone || info.Code != hail.StatusAbnormalClosure || info.Err == nil {
				t.Errorf("CloseInfo: got %+v, want 1006, peer gone, an error", info)
			}
		})
	}
}

func TestOnErrorMaySendBeforeTheClose(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: kit.Accept,
		OnMessage: func(*hail.Conn, hail.Message) error { return errors.New("no") },
		OnError:   func(c *hail.Conn, err error) { c.Send(hail.Text("sorry")) },
	}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("hello"))
	if got := p.Receive().String(); got != "sorry" {
		t.Errorf("got %q, want the message that OnError sent", got)
	}
	if got := p.WaitClose(); got.Code != hail.StatusInternalError {
		t.Errorf("close frame: got %v, want 1011", got)
	}
}

func TestCallbacksOwnErrorBesideTheConnectionsEnd(t *testing.T) {
	t.Parallel()
	failures := make(chan error, 2)
	own := errors.New("database is down")
	s := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.Close(4000, "")
			return errors.Join(own, c.Send(m))
		},
		OnError: func(_ *hail.Conn, err error) { failures <- err },
	}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("go"))
	p.WaitClose()
	if err := <-failures; !errors.Is(err, own) {
		t.Errorf("OnError: got %v, want the callback's error", err)
	}
}
