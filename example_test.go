package hail_test

// One example for each subject of the documentation. Each runs a server and talks to it.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// exampleT replaces the testing.T that an Example does not have. Any failure panics.
type exampleT struct{ cleanups []func() }

func newT() *exampleT { return new(exampleT) }

func (*exampleT) Helper() {}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (*exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (*exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end runs the cleanups, the last first.
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// A service mounts a server in its mux. OnConnect keeps what it needs of the request.
func Example() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			c.SetState(r.PathValue("room"))
			return nil
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			return c.Send(hail.Text(fmt.Sprintf("%v: %v", c.State(), m)))
		},
	}}
	mux := http.NewServeMux()
	mux.Handle("GET /ws/{room}", ws)

	p := hailtest.Dial(t, mux, "/ws/lobby") // a client
	p.Send(hail.Text("hi"))
	fmt.Println(p.Receive())
	// Output: lobby: hi
}

// The zero value greets each connection and answers each message.
func ExampleServer() {
	t := newT()
	defer t.end()

	p := hailtest.Dial(t, &hail.Server{}, "/")
	fmt.Println(p.Receive())
	p.Send(hail.Text("hi"))
	fmt.Println(p.Receive())
	// Output:
	// something
	// something123
}

// Conns lets a service find connections by the state that it keeps with them.
func ExampleServer_Conns() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			c.SetState(r.URL.Query().Get("user"))
			return nil
		},
		OnMessage: hail.Echo,
	}}
	mallory := hailtest.Dial(t, ws, "/?user=mallory")
	alice := hailtest.Dial(t, ws, "/?user=alice")
	for _, p := range []*hailtest.Peer{mallory, alice} {
		p.Send(hail.Text("hi"))
		p.Receive() // the echo: by now OnConnect has returned, and Conns has the connection
	}

	fmt.Println("open:", ws.Len())
	for c := range ws.Conns() {
		if c.State() == "mallory" {
			c.Close(4003, "locked out")
		}
	}
	end := mallory.WaitClose()
	fmt.Println(int(end.Code), end.Reason)
	alice.Send(hail.Text("still here"))
	fmt.Println(alice.Receive())
	// Output:
	// open: 2
	// 4003 locked out
	// still here
}

// http.Server.Shutdown starts the functions of RegisterOnShutdown, but does not wait for them.
func ExampleServer_Shutdown() {
	t := newT()
	defer t.end()

	ws := &hail.Server{}
	mux := http.NewServeMux()
	mux.Handle("GET /ws", ws)
	srv := &http.Server{Handler: mux}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	srv.RegisterOnShutdown(func() { drained <- ws.Shutdown(ctx) })

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go srv.Serve(ln)
	p := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws")
	fmt.Println(p.Receive())

	fmt.Println("http:", srv.Shutdown(ctx))
	fmt.Println("hail:", <-drained)
	fmt.Println("the client was told", p.WaitClose().Code)
	// Output:
	// something
	// http: <nil>
	// hail: <nil>
	// the client was told StatusGoingAway
}

// Close cuts every connection. Their contexts say that the server did it.
func ExampleServer_Close() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			fmt.Println(info.Cause)
			fmt.Println(errors.Is(context.Cause(c.Context()), hail.ErrServerClosed))
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Receive() // the greeting

	ws.Close() // returns after the last OnClose
	fmt.Println("open:", ws.Len())
	// Output:
	// server closed
	// true
	// open: 0
}

// Stats are for any metrics that a service has.
func ExampleServer_Stats() {
	t := newT()
	defer t.end()

	ws := &hail.Server{}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("hi"))
	p.Receive()
	p.Receive()
	p.Close(hail.StatusNormalClosure, "")
	ws.Shutdown(context.Background()) // after it the counters stand still

	st := ws.Stats()
	fmt.Println("accepted", st.Accepted, "received", st.Received, "sent", st.Sent, "undelivered", st.Undelivered)
	fmt.Println(st.Closed)
	fmt.Println(st.Closed[hail.CausePeerClosed])
	// Output:
	// accepted 1 received 1 sent 2 undelivered 0
	// map[peer closed:1]
	// 1
}

// A token in the query is read in OnConnect: the request is not there later. An error refuses the connection.
func ExampleHandler_onConnect() {
	t := newT()
	defer t.end()

	users := map[string]string{"s3cret": "alice"}
	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			user, ok := users[r.URL.Query().Get("token")]
			if !ok {
				return hail.CloseError{Code: hail.StatusPolicyViolation, Reason: "unknown token"}
			}
			return c.Send(hail.Text("hello " + user))
		},
		OnError: func(c *hail.Conn, err error) {}, // else it is logged
	}}

	fmt.Println(hailtest.Dial(t, ws, "/?token=s3cret").Receive())
	end := hailtest.Dial(t, ws, "/?token=guessed").WaitClose()
	fmt.Println(end.Code, end.Reason)
	// Output:
	// hello alice
	// StatusPolicyViolation unknown token
}

func ExampleGreet() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{OnConnect: hail.Greet(hail.Text("welcome"))}}
	p := hailtest.Dial(t, ws, "/")
	fmt.Println(p.Receive())
	// Output: welcome
}

func ExampleReply() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{OnMessage: hail.Reply(hail.Text("noted"))}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("hi"))
	fmt.Println(p.Receive())
	// Output: noted
}

func ExampleEcho() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{OnMessage: hail.Echo}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("hi"))
	fmt.Println(p.Receive())
	p.Send(hail.Binary([]byte{1, 2, 3}))
	fmt.Println(p.Receive().Data)
	// Output:
	// hi
	// [1 2 3]
}

func ExampleMessage_JSON() {
	m := hail.Text(`{"item":"tea","count":2}`)
	var o struct {
		Item  string
		Count int
	}
	if err := m.JSON(&o); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%+v\n", o)
	// Output: {Item:tea Count:2}
}

// A callback that returns a CloseError chooses the code and the reason. 4000 to 4999 are an application's own.
func ExampleCloseError() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			if m.Type != hail.MessageText {
				return hail.CloseError{Code: hail.StatusUnsupportedData, Reason: "text only"}
			}
			return fmt.Errorf("read %q: %w", m, hail.CloseError{Code: 4001, Reason: "no such command"})
		},
		OnError: func(c *hail.Conn, err error) { fmt.Println("error:", err) },
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("jump"))
	end := p.WaitClose()
	fmt.Println(int(end.Code), end.Reason)
	// Output:
	// error: read "jump": status = StatusCode(4001) and reason = "no such command"
	// 4001 no such command
}

// A service sets its own limits. Options that are left out have their defaults.
func ExampleOptions() {
	t := newT()
	defer t.end()

	ws := &hail.Server{
		Options: hail.Options{
			Origins:       []string{"https://app.example.org", "https://*.example.net"},
			ReadLimit:     1024, // bytes
			MaxConns:      10_000,
			MaxConnsPerIP: 2,
			MessageRate:   50, // a second
			Logger:        slog.New(slog.DiscardHandler),
		},
	}
	fmt.Println(hailtest.Handshake(t, ws, "/", hailtest.Origin("https://elsewhere.example")).Status)

	p := hailtest.Dial(t, ws, "/", hailtest.Origin("https://app.example.org"))
	p.Receive() // the greeting
	p.Send(hail.Binary(make([]byte, 1025)))
	end := p.WaitClose()
	fmt.Println(end.Code, end.Reason)
	// Output:
	// 403 Forbidden
	// StatusMessageTooBig message too big
}

// OnClose is told which side ended the connection, and why.
func ExampleCloseInfo() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			switch info.Cause {
			case hail.CausePeerClosed:
				fmt.Println(c.ID(), "left with", int(info.Code), info.Reason)
			default:
				fmt.Println(c.ID(), info.Cause, int(info.Code), info.Err)
			}
		},
	}}
	first := hailtest.Dial(t, ws, "/")
	first.Close(4000, "lunch")
	second := hailtest.Dial(t, ws, "/")
	second.Receive()    // the greeting
	second.CloseWrite() // a client that ends without a word
	second.WaitClose()
	ws.Shutdown(context.Background()) // returns after the last OnClose
	// Unordered output:
	// 1 left with 4000 lunch
	// 2 peer gone 1006 hail: connection lost: EOF
}

// A panic ends its own connection, with 1011, and is handed to OnError with its stack.
func ExamplePanicError() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			words := strings.Fields(m.String())
			return c.Send(hail.Text(words[1]))
		},
		OnError: func(c *hail.Conn, err error) {
			var p *hail.PanicError
			if errors.As(err, &p) {
				fmt.Println(p.Value)
				fmt.Println("stack:", len(p.Stack) > 0)
			}
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("tea"))
	end := p.WaitClose()
	fmt.Println(end.Code, end.Reason)
	// Output:
	// runtime error: index out of range [1] with length 1
	// stack: true
	// StatusInternalError internal error
}
