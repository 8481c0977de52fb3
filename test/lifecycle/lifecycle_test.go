package lifecycle_test

// The promises of a connection's life: order, one OnClose, contained errors, contexts.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

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

// TestACallbackEndsTheDefaults sets one of OnConnect and OnMessage: the default of the other sends nothing.
func TestACallbackEndsTheDefaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		h    hail.Handler
		want string
	}{
		"OnMessage": {hail.Handler{OnMessage: hail.Echo}, "hi"},
		"OnConnect": {hail.Handler{OnConnect: hail.Greet(hail.Text("hello"))}, "hello"},
		"both":      {hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Reply(hail.Text("noted"))}, "noted"},
		"neither":   {hail.Handler{OnError: func(*hail.Conn, error) {}}, hail.DefaultGreeting + hail.DefaultReply},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := hailtest.Dial(t, &hail.Server{Handler: tc.h}, "/")
			p.Send(hail.Text("hi"))
			p.Close(hail.StatusNormalClosure, "") // all that was sent before is received by then
			got := ""
			for range p.Pending() {
				got += p.Receive().String()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
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

func (treacherous) Error() string { return "treacherous" }

func (treacherous) Is(error) bool { panic("Is") }
