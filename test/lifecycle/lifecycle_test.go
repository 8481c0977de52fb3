package lifecycle_test

// What is promised of a connection's life: order, one OnClose, contained errors, contexts.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestZeroValueGreetsAndReplies(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		p := hailtest.Dial(t, &hail.Server{Options: hail.Options{Compression: true}}, "/ws", opts...)
		if got := p.Receive().String(); got != hail.DefaultGreeting {
			t.Errorf("greeting: got %q, want %q", got, hail.DefaultGreeting)
		}
		for range 3 {
			p.Send(hail.Text("hello"))
			if got := p.Receive(); got.String() != hail.DefaultReply || got.Type != hail.MessageText {
				t.Errorf("reply: got %v %q, want text %q", got.Type, got, hail.DefaultReply)
			}
		}
		if got := p.Close(hail.StatusNormalClosure, "bye"); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want code 1000", got)
		}
	})
}

func TestMessagesKeepTypeContentAndOrder(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 125, 126, 127, 1023, 1024, 4090, 4096, 5000, 16 << 10, 65535, 65536}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo},
			Options: hail.Options{Compression: true},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		for i, size := range sizes {
			data := bytes.Repeat([]byte{byte('a' + i)}, size)
			for _, m := range []hail.Message{{Type: hail.MessageText, Data: data}, {Type: hail.MessageBinary, Data: data}} {
				p.Send(m)
			}
		}
		for i, size := range sizes {
			want := bytes.Repeat([]byte{byte('a' + i)}, size)
			for _, typ := range []hail.MessageType{hail.MessageText, hail.MessageBinary} {
				got := p.Receive()
				if got.Type != typ || !bytes.Equal(got.Data, want) {
					t.Fatalf("echo of %d bytes: got %v of %d bytes, want %v", size, got.Type, len(got.Data), typ)
				}
			}
		}
	})
}

func TestCallbacksRunInOrderOneAtATime(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		var mu sync.Mutex
		var events []string
		enter := func(event string) func() {
			if !mu.TryLock() {
				t.Errorf("%s runs beside another callback", event)
				mu.Lock()
			}
			events = append(events, event)
			runtime.Gosched()
			return mu.Unlock
		}
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { defer enter("connect")(); return nil },
			OnMessage: func(_ *hail.Conn, m hail.Message) error {
				defer enter(m.String())()
				if m.String() == "last" {
					return errors.New("enough")
				}
				return nil
			},
			OnError: func(_ *hail.Conn, err error) { defer enter("error " + err.Error())() },
			OnClose: func(c *hail.Conn, info hail.CloseInfo) { enter("close")(); closed.Note(c, info) },
		}}
		p := hailtest.Dial(t, s, "/", opts...)
		want := []string{"connect"}
		for i := range 50 {
			p.Send(hail.Text(fmt.Sprint(i)))
			want = append(want, fmt.Sprint(i))
		}
		p.Write(slices.Concat(
			hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("last")}.Bytes(),
			hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("too late")}.Bytes()))
		if got := p.WaitClose(); got.Code != hail.StatusInternalError {
			t.Errorf("close: got %v, want 1011", got)
		}
		closed.Next(t)
		want = append(want, "last", "error enough", "close")
		if !slices.Equal(events, want) {
			t.Errorf("events: got %q, want %q", events, want)
		}
	})
}

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
					} else if isPanic && !bytes.Contains(panicked.Stack, []byte("lifecycle_test.go")) {
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
		t.Errorf("got %q, want what OnError sent", got)
	}
	if got := p.WaitClose(); got.Code != hail.StatusInternalError {
		t.Errorf("close frame: got %v, want 1011", got)
	}
}

func TestPanicsInOnCloseAndOnErrorAreContained(t *testing.T) {
	t.Parallel()
	reported := make(chan error, 4)
	s := &hail.Server{Handler: hail.Handler{
		OnClose: func(*hail.Conn, hail.CloseInfo) { panic("in OnClose") },
		OnError: func(_ *hail.Conn, err error) { reported <- err; panic("in OnError") },
	}, Options: hail.Options{Logger: kit.Quiet}}
	for range 2 { // the second shows that the server lives
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
	other.Receive()
	bad := hailtest.Dial(t, s, "/")
	bad.Send(hail.Text("panic"))
	bad.WaitClose()
	other.Send(hail.Text("still here"))
	if got := other.Receive().String(); got != "still here" {
		t.Errorf("got %q, want the echo", got)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		conns := make(chan *hail.Conn, 1)
		closed := kit.NewCloses()
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error { conns <- c; return nil },
			OnClose: func(c *hail.Conn, info hail.CloseInfo) {
				if c.Context().Err() == nil {
					t.Error("the context has not ended in OnClose")
				}
				closed.Note(c, info)
			},
		}}
		returned := make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "gopher")))
			close(returned)
		})
		p := hailtest.Dial(t, mux, "/", opts...)
		c := <-conns
		<-returned
		if got := c.Context().Value(key{}); got != "gopher" {
			t.Errorf("value: got %v, want gopher", got)
		}
		if err := c.Context().Err(); err != nil {
			t.Errorf("after ServeHTTP returned: %v", err)
		}
		p.Close(4242, "because")
		<-c.Context().Done()
		cause := context.Cause(c.Context())
		var closeErr hail.CloseError
		if !errors.Is(cause, hail.ErrConnClosed) || !errors.As(cause, &closeErr) || closeErr.Code != 4242 || closeErr.Reason != "because" {
			t.Errorf("cause: got %v", cause)
		}
		if errors.Is(cause, hail.ErrServerClosed) {
			t.Errorf("cause is ErrServerClosed: %v", cause)
		}
		info := closed.Next(t)
		if info.Code != 4242 || info.Reason != "because" || info.Cause != hail.CausePeerClosed || info.Err != nil {
			t.Errorf("CloseInfo: got %+v", info)
		}
	})
}

func TestContextEndsWhileACallbackRuns(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of a peer's end while nobody reads")
	}
	leave := map[string]func(*hailtest.Peer){
		"FIN":                    (*hailtest.Peer).CloseWrite,
		"RST":                    (*hailtest.Peer).Reset,
		"FIN behind unread data": func(p *hailtest.Peer) { p.Send(hail.Text("second")); p.CloseWrite() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blocked, ended := make(chan struct{}), make(chan error, 2)
			var got []string
			closed := kit.NewCloses()
			s := &hail.Server{Handler: hail.Handler{
				OnConnect: kit.Accept,
				OnMessage: func(c *hail.Conn, m hail.Message) error {
					got = append(got, m.String())
					if m.String() == "first" {
						close(blocked)
						<-c.Context().Done()
						ended <- context.Cause(c.Context())
					}
					return nil
				},
				OnClose: closed.Note,
			}}
			p := hailtest.Dial(t, s, "/", hailtest.TCP())
			p.Send(hail.Text("first"))
			<-blocked
			leave(p)
			if err := <-ended; !errors.Is(err, hail.ErrConnClosed) {
				t.Errorf("cause: got %v, want ErrConnClosed", err)
			}
			if info := closed.Next(t); info.Cause != hail.CausePeerGone || info.Code != hail.StatusAbnormalClosure {
				t.Errorf("CloseInfo: got %+v, want peer gone with 1006", info)
			}
			if strings.Contains(name, "data") && !slices.Equal(got, []string{"first", "second"}) {
				t.Errorf("messages: got %q: what was sent before the end is missing", got)
			}
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		code       hail.StatusCode
		reason     string
		sent       hail.StatusCode
		sentReason string
		wrong      bool
	}{
		"normal":           {1000, "bye", 1000, "bye", false},
		"application code": {4999, "", 4999, "", false},
		"without a code":   {hail.StatusNoStatusRcvd, "", hail.StatusNoStatusRcvd, "", false},
		"123 bytes":        {4000, strings.Repeat("x", 123), 4000, strings.Repeat("x", 123), false},
		"124 bytes":        {4000, strings.Repeat("x", 124), 4000, strings.Repeat("x", 123), false},
		"cut in a rune":    {4000, strings.Repeat("x", 121) + "世", 4000, strings.Repeat("x", 121), false},
		"invalid UTF-8":    {4000, "a\xffb", 4000, "a?b", false},
		"code 0":           {0, "x", 1011, "", true},
		"code 1006":        {1006, "x", 1011, "", true},
		"code 5000":        {5000, "x", 1011, "", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				conns := make(chan *hail.Conn, 1)
				closed := kit.NewCloses()
				s := &hail.Server{Handler: hail.Handler{
					OnConnect: func(c *hail.Conn, r *http.Request) error {
						err := c.Send(hail.Text("queued first"))
						conns <- c
						return err
					},
					OnClose: closed.Note,
				}}
				p := hailtest.Dial(t, s, "/", opts...)
				c := <-conns
				if err := c.Close(tc.code, tc.reason); (err != nil) != tc.wrong {
					t.Errorf("Close: got %v, want an error: %v", err, tc.wrong)
				}
				if err := c.Close(1000, ""); !errors.Is(err, hail.ErrConnClosed) {
					t.Errorf("second Close: got %v, want ErrConnClosed", err)
				}
				if err := c.Send(hail.Text("x")); !errors.Is(err, hail.ErrConnClosed) {
					t.Errorf("Send after Close: got %v, want ErrConnClosed", err)
				}
				if got := p.Receive().String(); got != "queued first" {
					t.Errorf("got %q, want what was queued before Close", got)
				}
				if got := p.WaitClose(); got.Code != tc.sent || got.Reason != tc.sentReason {
					t.Errorf("close frame: got %v, want %d %q", got, tc.sent, tc.sentReason)
				}
				info := closed.Next(t)
				if info.Code != tc.sent || info.Reason != tc.sentReason || info.Cause != hail.CauseClosed || info.Err != nil {
					t.Errorf("CloseInfo: got %+v, want %d %q, closed, no error", info, tc.sent, tc.sentReason)
				}
			})
		})
	}
}

func TestPeerGoneWithoutCloseFrame(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*hailtest.Peer){"FIN": (*hailtest.Peer).CloseWrite, "RST": (*hailtest.Peer).Reset} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				closed := kit.NewCloses()
				s := &hail.Server{Handler: hail.Handler{
					OnClose: closed.Note,
					OnError: func(_ *hail.Conn, err error) { t.Errorf("OnError: %v", err) },
				}}
				p := hailtest.Dial(t, s, "/", opts...)
				p.Receive()
				leave(p)
				info := closed.Next(t)
				if info.Code != hail.StatusAbnormalClosure || info.Cause != hail.CausePeerGone || info.Err == nil {
					t.Errorf("CloseInfo: got %+v, want 1006, peer gone, an error", info)
				}
			})
		})
	}
}

// TestPeerThatOnlyReadsOn has a peer end its sending direction, as TCP lets it, before it has read its answers.
func TestPeerThatOnlyReadsOn(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		const messages = 4
		closed, conns := kit.NewCloses(), make(chan *hail.Conn, 1)
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
		s.OnConnect = func(c *hail.Conn, _ *http.Request) error { conns <- c; return c.Subscribe("news") }
		s.OnMessage = func(c *hail.Conn, m hail.Message) error { return errors.Join(c.Send(m), s.Publish("news", m)) }
		s.OnClose = closed.Note
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
		c := <-conns
		p.Stall()
		for i := range messages {
			p.Send(hail.Text(strings.Repeat(fmt.Sprint(i), 60_000)))
		}
		p.CloseWrite()
		<-c.Context().Done()
		for c.Subscribe("more") == nil { // what came before the end is still being handled
			runtime.Gosched()
		}
		if err := c.Send(hail.Text("late")); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("Send behind the end: got %v, want %v", err, hail.ErrConnClosed)
		}
		if err := s.Publish("news", hail.Text("late")); err != nil {
			t.Errorf("Publish: %v", err)
		}
		p.Resume()
		for i := range 2 * messages {
			if got, want := p.Receive().String(), strings.Repeat(fmt.Sprint(i/2), 60_000); got != want {
				t.Errorf("message %d: got %d bytes %.3q, want %d bytes %.3q", i, len(got), got, len(want), want)
			}
		}
		if info := closed.Next(t); info.Code != hail.StatusAbnormalClosure || info.Cause != hail.CausePeerGone || !errors.Is(info.Err, io.EOF) ||
			strings.Contains(info.Err.Error(), "not written") {
			t.Errorf("CloseInfo: got %+v, want 1006, peer gone, EOF, and all messages written", info)
		}
	})
}

func TestSendRefusesWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 8)
	s := &hail.Server{Handler: hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
		errs <- c.Send(hail.Message{Data: []byte("no type")})
		errs <- c.Send(hail.Message{Type: 9})
		errs <- c.TrySend(hail.Text("\xff"))
		errs <- c.SendJSON(func() {})
		return c.SendJSON(map[string]int{"n": 1})
	}}}
	p := hailtest.Dial(t, s, "/")
	got := p.Receive()
	var v struct{ N int }
	if err := got.JSON(&v); err != nil || v.N != 1 || got.Type != hail.MessageText {
		t.Errorf("got %v %q, %v, want only the JSON", got.Type, got, err)
	}
	for range 4 {
		if err := <-errs; err == nil || errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("got %v, want what is wrong with the message", err)
		}
	}
}

func TestSendCopies(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Handler: hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
		b := []byte("original")
		err := c.Send(hail.Binary(b))
		copy(b, "xxxxxxxx")
		return err
	}}}
	p := hailtest.Dial(t, s, "/")
	if got := p.Receive().String(); got != "original" {
		t.Errorf("got %q, want what was sent", got)
	}
}

func TestDataMayBeKept(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		var kept [][]byte
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				kept = append(kept, m.Data)
				if m.String() == "check" {
					for i, b := range kept[:len(kept)-1] {
						if want := bytes.Repeat([]byte{byte(i)}, 1+i*997); !bytes.Equal(b, want) {
							return fmt.Errorf("message %d has changed", i)
						}
					}
				}
				return nil
			},
		}, Options: hail.Options{Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		for i := range 60 {
			p.Send(hail.Binary(bytes.Repeat([]byte{byte(i)}, 1+i*997)))
		}
		p.Send(hail.Text("check"))
		if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want 1000", got)
		}
	})
}

func TestReuseBuffers(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hailtest.Overwrite(hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}),
			Options: hail.Options{Compression: true, ReuseBuffers: true},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		for i := range 60 {
			p.Send(hail.Binary(bytes.Repeat([]byte{byte(i)}, 1+i*997)))
		}
		for i := range 60 {
			if got, want := p.Receive().Data, bytes.Repeat([]byte{byte(i)}, 1+i*997); !bytes.Equal(got, want) {
				t.Fatalf("message %d: got %d bytes, want %d of %d", i, len(got), len(want), i)
			}
		}
	})
}

func TestStateAndIdentity(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			if c.State() != nil {
				t.Errorf("State at first: got %v, want nil", c.State())
			}
			c.SetState(r.URL.Query().Get("name"))
			return nil
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			return c.Send(hail.Text(fmt.Sprintf("%v %d %v", c.State(), c.ID(), c.RemoteAddr())))
		},
	}}
	for i, name := range []string{"ann", "bob"} {
		p := hailtest.Dial(t, s, "/?name="+name, hailtest.RemoteAddr("127.0.0.9:1234"))
		p.Send(hail.Text("?"))
		if got, want := p.Receive().String(), fmt.Sprintf("%s %d 127.0.0.9:1234", name, i+1); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestConnsAndLen(t *testing.T) {
	t.Parallel()
	closed := kit.NewCloses()
	s := &hail.Server{Handler: hail.Handler{OnClose: closed.Note}}
	if got := s.Len(); got != 0 {
		t.Errorf("Len of the zero value: got %d", got)
	}
	var peers []*hailtest.Peer
	for range 20 {
		p := hailtest.Dial(t, s, "/")
		p.Receive()
		peers = append(peers, p)
	}
	kit.Until(t, "20 open connections", func() bool { return s.Len() == 20 })
	for c := range s.Conns() {
		c.Send(hail.Text("to all"))
	}
	for _, p := range peers {
		if got := p.Receive().String(); got != "to all" {
			t.Errorf("got %q", got)
		}
	}
	for range s.Conns() {
		break // must not hold anything
	}
	for _, p := range peers {
		p.Close(hail.StatusNormalClosure, "")
		closed.Next(t)
	}
	if got := s.Len(); got != 0 {
		t.Errorf("Len at the end: got %d", got)
	}
}

func TestRepliesOfABatchDoNotWaitForASlowCallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				if m.String() == "slow" {
					time.Sleep(5 * time.Second)
				}
				return c.Send(m)
			},
		}}
		p := hailtest.Dial(t, s, "/")
		var batch []byte
		for _, text := range []string{"a", "b", "slow", "c"} {
			batch = append(batch, hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(text)}.Bytes()...)
		}
		start := time.Now()
		p.Write(batch)
		for _, want := range []string{"a", "b"} {
			if got := p.Receive().String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if waited := time.Since(start); waited > 2*time.Millisecond {
			t.Errorf("the first replies took %v, want at most about a millisecond", waited)
		}
		for _, want := range []string{"slow", "c"} {
			if got := p.Receive().String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		p.Close(hail.StatusNormalClosure, "")
	})
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

func (treacherous) Error() string { return "treacherous" }
func (treacherous) Is(error) bool { panic("Is") }

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

// TestNothingFollowsACallbacksError has a callback return the error of Send to a peer whose connection takes nothing more but
// has messages yet.
func TestNothingFollowsACallbacksError(t *testing.T) {
	t.Parallel()
	for _, callback := range []string{"OnConnect", "OnMessage"} {
		t.Run(callback, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				calls := 0
				open, broken := make(chan struct{}, 20), make(chan struct{})
				fail := func(c *hail.Conn, in string) error {
					if in != callback {
						return nil
					}
					open <- struct{}{}
					<-broken
					return sendUntil(c)
				}
				h, e := kit.Observed(hail.Handler{
					OnConnect: func(c *hail.Conn, _ *http.Request) error { return fail(c, "OnConnect") },
					OnMessage: func(c *hail.Conn, _ hail.Message) error {
						calls++
						return fail(c, "OnMessage")
					},
				})
				const timeout = 3 * time.Second
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{CloseTimeout: timeout, WriteTimeout: time.Hour})}
				p, silence := mute(t, s, opts)
				p.Write(bytes.Repeat(kit.Message([]byte("x")), 10))
				<-open
				silence()
				close(broken)
				start := time.Now()
				for time.Since(start) < timeout-time.Second { // it is not silent
					time.Sleep(time.Second / 4)
					p.Write(kit.Message([]byte("x")))
				}
				info := kit.Await(t, "OnClose", e.Closed, time.Hour)
				kit.CheckDelay(t, "OnClose", start, timeout)
				kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CausePeerGone, false)
				kit.CheckNames(t, info.Err, "nothing can be written")
				if want := map[string]int{"OnMessage": 1}[callback]; calls != want {
					t.Errorf("OnMessage was called %d times, want %d", calls, want)
				}
				if len(e.Errs) > 0 {
					t.Errorf("OnError was told %v", <-e.Errs)
				}
			})
		})
	}
}

// TestNothingFollowsAnEndThatCannotBeWritten has a callback end a connection whose close frame cannot be written.
func TestNothingFollowsAnEndThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hail.Conn) error{
		"an error":     func(*hail.Conn) error { return io.EOF },
		"a CloseError": func(*hail.Conn) error { return hail.CloseError{Code: 4000} },
		"a panic":      func(*hail.Conn) error { panic("out") },
		"Close":        func(c *hail.Conn) error { return c.Close(4000, "") },
		"Close, by another": func(c *hail.Conn) error {
			go c.Close(4000, "") // ends at once
			<-c.Context().Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				var silence func()
				ready := make(chan struct{})
				calls := 0
				h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, _ hail.Message) error {
					<-ready
					calls++
					silence()
					sendUntil(c)
					return end(c)
				}})
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{CloseTimeout: -1, WriteTimeout: time.Hour})}
				p, silencer := mute(t, s, opts)
				silence = silencer
				close(ready)
				start := time.Now()
				p.Write(bytes.Repeat(kit.Message([]byte("x")), 10))
				kit.Await(t, "OnClose", e.Closed, time.Hour)
				kit.CheckDelay(t, "OnClose", start, 0)
				if calls != 1 || len(e.Errs) > 1 {
					t.Errorf("OnMessage was called %d times, OnError %d; want once", calls, len(e.Errs))
				}
			})
		})
	}
}

// TestShutdownEndsWhatCannotBeWritten begins when, or before, a callback has returned the error of Send.
func TestShutdownEndsWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("before %v", before), func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				running, failed := make(chan struct{}), make(chan struct{})
				h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, _ hail.Message) error {
					close(running)
					<-failed
					err := sendUntil(c)
					time.Sleep(time.Second)
					return err
				}})
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{CloseTimeout: -1, WriteTimeout: time.Hour})}
				p, silence := mute(t, s, opts)
				p.Write(kit.Message([]byte("x")))
				<-running
				silence()
				close(failed)
				if !before {
					time.Sleep(time.Minute)
				}
				start := time.Now()
				if err := s.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("Shutdown took %v, want no more than the callback", took)
				}
				kit.Await(t, "OnClose", e.Closed, time.Hour)
			})
		})
	}
}

// TestCloseTimeoutWhereOnlyWritesFailAndCallbacksTakeTime has nearly always a callback run.
func TestCloseTimeoutWhereOnlyWritesFailAndCallbacksTakeTime(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		const timeout, each = 3 * time.Second, 250 * time.Millisecond
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.TrySend(m) // whatever comes of it
			time.Sleep(each - each/10)
			return nil
		}})
		p, silence := mute(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{CloseTimeout: timeout, WriteTimeout: time.Hour})}, opts)
		silence()
		start := time.Now()
		for time.Since(start) < timeout-2*each {
			p.Write(kit.Message([]byte("x")))
			time.Sleep(each)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, time.Hour), hail.StatusAbnormalClosure, hail.CausePeerGone, false)
		kit.CheckDelay(t, "OnClose", start, timeout)
	})
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
