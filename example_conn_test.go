package hail_test

// Examples of Conn.

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func ExampleConn_SendJSON() {
	t := newT()
	defer t.end()

	type order struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			var o order
			if err := m.JSON(&o); err != nil {
				return hail.CloseError{Code: hail.StatusInvalidFramePayloadData, Reason: "not an order"}
			}
			o.Count++
			return c.SendJSON(o)
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text(`{"item":"tea","count":1}`))
	fmt.Println(p.Receive())
	// Output: {"item":"tea","count":2}
}

// A callback that several servers share reaches its own by the connection.
func ExampleConn_Server() {
	t := newT()
	defer t.end()

	count := func(c *hail.Conn, m hail.Message) error {
		return c.SendJSON(map[string]int{"here": c.Server().Len()})
	}
	p := hailtest.Dial(t, &hail.Server{Handler: hail.Handler{OnMessage: count}}, "/")
	p.Send(hail.Text("how many?"))
	fmt.Println(p.Receive())
	// Output: {"here":1}
}

// Close returns at once. Messages that were sent before it still arrive. Nothing can be sent after it.
func ExampleConn_Close() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			if err := c.Send(hail.Text("see you")); err != nil {
				return err
			}
			return c.Close(hail.StatusNormalClosure, "as you wish")
		},
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			err := c.Send(hail.Text("one more thing"))
			fmt.Println(errors.Is(err, hail.ErrConnClosed))
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("bye"))
	last, end := p.Receive(), p.WaitClose()
	ws.Shutdown(context.Background()) // returns after the last OnClose
	fmt.Println(last)
	fmt.Println(end.Code, end.Reason)
	// Output:
	// true
	// see you
	// StatusNormalClosure as you wish
}

// CloseNow is for a peer that gets no explanation.
func ExampleConn_CloseNow() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.CloseNow()
			return nil
		},
		OnClose: func(c *hail.Conn, info hail.CloseInfo) { fmt.Println(info.Cause, int(info.Code)) },
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("flood"))
	end := p.WaitClose()
	ws.Shutdown(context.Background()) // returns after the last OnClose
	fmt.Println(end.Code)
	// Output:
	// closed 1006
	// StatusAbnormalClosure
}

// The context has the values that middleware put into the request's, and ends with the connection.
func ExampleConn_Context() {
	t := newT()
	defer t.end()

	type userKey struct{}
	done := make(chan struct{})
	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			fmt.Println("user", c.Context().Value(userKey{}))
			go func() { // may send until the connection ends
				defer close(done)
				<-c.Context().Done()
				var end hail.CloseError
				if errors.As(context.Cause(c.Context()), &end) {
					fmt.Println("ended with", int(end.Code), end.Reason)
				}
			}()
			return nil
		},
	}}
	authenticated := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "alice")))
	})

	hailtest.Dial(t, authenticated, "/").Close(4000, "lunch")
	<-done
	// Output:
	// user alice
	// ended with 4000 lunch
}

// A connection's state is a value of any type, which the callbacks keep with it.
func ExampleConn_SetState() {
	t := newT()
	defer t.end()

	type session struct{ count int }
	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			c.SetState(&session{})
			return nil
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			s := c.State().(*session)
			s.count++ // one connection's callbacks never run at the same time
			return c.Send(hail.Text(fmt.Sprint("message ", s.count)))
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	for range 2 {
		p.Send(hail.Text("hi"))
		fmt.Println(p.Receive())
	}
	// Output:
	// message 1
	// message 2
}

// TrySend never waits for a slow peer.
func ExampleConn_TrySend() {
	t := newT()
	defer t.end()

	ws := &hail.Server{
		Options: hail.Options{SendQueue: 4096},
		Handler: hail.Handler{
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				for {
					err := c.TrySend(m)
					if errors.Is(err, hail.ErrQueueFull) {
						fmt.Println(err)
						return c.Close(hail.StatusTryAgainLater, "too slow")
					}
					if err != nil {
						return err
					}
				}
			},
		},
	}
	p := hailtest.Dial(t, ws, "/", hailtest.BufferSize(1024))
	p.Stall()
	p.Send(hail.Text("more!"))
	p.Resume()
	fmt.Println(p.WaitClose().Code)
	// Output:
	// hail: send queue full: 4096 bytes (Options.SendQueue)
	// StatusTryAgainLater
}

// A subprotocol is chosen from those that both sides know.
func ExampleConn_Subprotocol() {
	t := newT()
	defer t.end()

	ws := &hail.Server{
		Options: hail.Options{Subprotocols: []string{"chat.v2", "chat.v1"}},
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error {
				return c.Send(hail.Text("speaking " + c.Subprotocol()))
			},
		},
	}
	p := hailtest.Dial(t, ws, "/", hailtest.Subprotocols("chat.v1"))
	fmt.Println(p.Receive())
	// Output: speaking chat.v1
}
