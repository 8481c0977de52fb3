package hail_test

// Examples of topics.

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// A room is a topic: each connection in it hears the others.
func Example_rooms() {
	t := newT()
	defer t.end()

	rooms := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			return c.Subscribe(r.URL.Query().Get("room"))
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			return c.Publish(c.Topics()[0], m)
		},
	}}
	mux := http.NewServeMux()
	mux.Handle("/ws", rooms)

	alice := hailtest.Dial(t, mux, "/ws?room=tea")
	bob := hailtest.Dial(t, mux, "/ws?room=tea")
	for rooms.Len() < 2 {
		runtime.Gosched() // until both are in the room
	}
	alice.Send(hail.Text("hello"))
	fmt.Println("bob hears", bob.Receive())
	bob.Send(hail.Text("hi"))
	fmt.Println("alice hears", alice.Receive())
	// Output:
	// bob hears hello
	// alice hears hi
}

// A service publishes from any goroutine, here from another handler.
func ExampleServer_Publish() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			if err := c.Subscribe("orders/" + r.PathValue("id")); err != nil {
				return err
			}
			return c.Send(hail.Text("watching"))
		},
	}}
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}/watch", ws)
	mux.HandleFunc("POST /orders/{id}/ship", func(w http.ResponseWriter, r *http.Request) {
		if err := ws.Publish("orders/"+r.PathValue("id"), hail.Text("shipped")); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})

	p := hailtest.Dial(t, mux, "/orders/17/watch")
	fmt.Println(p.Receive())
	hailtest.Exchange(t, mux, "POST /orders/17/ship HTTP/1.1\r\nHost: example.com\r\n\r\n")
	fmt.Println(p.Receive())
	// Output:
	// watching
	// shipped
}

// Broadcast reaches every open connection, and waits for none.
func ExampleServer_Broadcast() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{OnMessage: hail.Echo}}
	var peers []*hailtest.Peer
	for range 3 {
		p := hailtest.Dial(t, ws, "/")
		p.Send(hail.Text("hi"))
		p.Receive() // the echo: by now OnConnect has returned, and the connection is open
		peers = append(peers, p)
	}

	if err := ws.Broadcast(hail.Text("lunch is ready")); err != nil {
		fmt.Println(err)
	}
	for _, p := range peers {
		fmt.Println(p.Receive())
	}
	// Output:
	// lunch is ready
	// lunch is ready
	// lunch is ready
}

// Each message carries its sequence number. A client that comes back says which it had last, and gets the messages it missed.
func ExampleServer_PublishSeq() {
	t := newT()
	defer t.end()

	news := &hail.Server{
		Options: hail.Options{History: hail.History{Messages: 100}},
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error {
				since, _ := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
				complete, err := c.SubscribeSince("news", since)
				if err == nil && !complete {
					err = c.Send(hail.Text("reload")) // since is too long ago, or the client is new
				}
				return err
			},
		},
	}
	publish := func(text string) {
		err := news.PublishSeq("news", func(seq uint64) hail.Message {
			return hail.Text(fmt.Sprintf("%d %s", seq, text))
		})
		if err != nil {
			fmt.Println(err)
		}
	}

	p := hailtest.Dial(t, news, "/")
	fmt.Println(p.Receive())
	publish("it rains")
	seq, text, _ := strings.Cut(p.Receive().String(), " ")
	fmt.Println(text)
	p.Close(hail.StatusGoingAway, "into a tunnel")
	publish("it snows")
	publish("the sun is out")

	p = hailtest.Dial(t, news, "/?since="+seq)
	for range 2 {
		_, text, _ = strings.Cut(p.Receive().String(), " ")
		fmt.Println(text)
	}
	// Output:
	// reload
	// it rains
	// it snows
	// the sun is out
}

// A published message is encoded once for all subscribers.
func ExampleJSON() {
	t := newT()
	defer t.end()

	type price struct {
		Of    string `json:"of"`
		Cents int    `json:"cents"`
	}
	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error { return c.Subscribe("prices") },
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			m, err := hail.JSON(price{m.String(), 250})
			if err != nil {
				return err
			}
			return c.Server().Publish("prices", m)
		},
	}}
	p := hailtest.Dial(t, ws, "/")
	p.Send(hail.Text("tea"))
	fmt.Println(p.Receive())
	// Output: {"of":"tea","cents":250}
}

// Topics returns the topics, each with the number of its subscribers.
func ExampleServer_Topics() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			if err := c.Subscribe(r.URL.Query()["on"]...); err != nil {
				return err
			}
			return c.Send(hail.Text("subscribed"))
		},
	}}
	hailtest.Dial(t, ws, "/?on=gold").Receive()
	hailtest.Dial(t, ws, "/?on=gold&on=tea").Receive()

	for topic, n := range ws.Topics() {
		fmt.Println(topic, n)
	}
	// Unordered output:
	// gold 2
	// tea 1
}

// A client chooses topics by its messages.
func ExampleConn_Subscribe() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			command, topic, _ := strings.Cut(m.String(), " ")
			var err error
			switch command {
			case "join":
				err = c.Subscribe(topic)
			case "leave":
				err = c.Unsubscribe(topic)
			}
			if err != nil {
				return c.Send(hail.Text(err.Error()))
			}
			return c.Send(hail.Text(fmt.Sprint("on ", c.Topics())))
		},
	}, Options: hail.Options{MaxTopics: 2}}

	p := hailtest.Dial(t, ws, "/")
	for _, command := range []string{"join gold", "join tea", "join rice", "leave gold", "join rice"} {
		p.Send(hail.Text(command))
		fmt.Println(p.Receive())
	}
	// Output:
	// on [gold]
	// on [gold tea]
	// hail: connection is on 2 topics already (Options.MaxTopics)
	// on [tea]
	// on [tea rice]
}

// OnClose still knows the topics, and may publish.
func ExampleConn_Topics() {
	t := newT()
	defer t.end()

	ws := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			c.SetState(r.URL.Query().Get("name"))
			if err := c.Subscribe(r.URL.Query()["on"]...); err != nil {
				return err
			}
			if c.State() == "" {
				return hail.CloseError{Code: 4001, Reason: "who are you?"}
			}
			return c.Send(hail.Text("welcome"))
		},
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			if !info.Opened {
				return // OnConnect refused it: nobody was there who could leave
			}
			for _, topic := range c.Topics() {
				c.Publish(topic, hail.Text(fmt.Sprintf("%v left %s: %v", c.State(), topic, info.Cause)))
			}
		},
	}}
	alice := hailtest.Dial(t, ws, "/?name=alice&on=tea&on=rice")
	fmt.Println(alice.Receive())
	bob := hailtest.Dial(t, ws, "/?name=bob&on=tea")
	fmt.Println(bob.Receive())
	fmt.Println(hailtest.Dial(t, ws, "/?on=tea").WaitClose().Reason)
	bob.Close(hail.StatusNormalClosure, "")
	fmt.Println(alice.Receive())
	// Output:
	// welcome
	// welcome
	// who are you?
	// bob left tea: peer closed
}

// A connection that does not keep up with published messages is closed with 1013. Nothing waits for it.
func ExampleCause_slowConsumer() {
	t := newT()
	defer t.end()

	ws := &hail.Server{
		Options: hail.Options{TopicMessages: 16},
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error {
				if err := c.Subscribe("video"); err != nil {
					return err
				}
				return c.Send(hail.Text("watching"))
			},
			OnClose: func(c *hail.Conn, info hail.CloseInfo) {
				if info.Cause == hail.CauseSlowConsumer {
					fmt.Println("conn", c.ID(), "gets too many pictures")
				}
			},
			OnError: func(*hail.Conn, error) {}, // else it is logged
		},
	}
	p := hailtest.Dial(t, ws, "/", hailtest.BufferSize(1024))
	p.Receive()
	p.Stall()
	for range 100 {
		if err := ws.Publish("video", hail.Binary(make([]byte, 4096))); err != nil {
			fmt.Println(err)
		}
	}
	p.Resume()
	end := p.WaitClose()
	ws.Shutdown(context.Background()) // returns after the last OnClose
	fmt.Println(end.Code, end.Reason)
	// Output:
	// conn 1 gets too many pictures
	// StatusTryAgainLater too slow
}
