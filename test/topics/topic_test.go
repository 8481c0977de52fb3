package topics_test

// Topics, over every transport.

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// room is a server whose connections join the topic of their query.
func room(o hail.Options) *hail.Server {
	return &hail.Server{Options: o, Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			if err := c.Subscribe(r.URL.Query()["on"]...); err != nil {
				return err
			}
			return c.Send(hail.Text("hello")) // from here on it is on its topics
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error { return c.Publish("room", m) },
	}}
}

func TestPublishReachesTheOthers(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{})
		a := hailtest.Dial(t, s, "/?on=room", opts...)
		b := hailtest.Dial(t, s, "/?on=room&on=other", opts...)
		c := hailtest.Dial(t, s, "/?on=other", opts...)
		for _, p := range []*hailtest.Peer{a, b, c} {
			want(t, p, "hello")
		}
		for i := range 100 {
			a.Send(hail.Text(fmt.Sprint(i)))
		}
		for i := range 100 {
			want(t, b, fmt.Sprint(i))
		}
		if err := s.Publish("other", hail.Text("to b and c")); err != nil {
			t.Fatal(err)
		}
		want(t, b, "to b and c")
		want(t, c, "to b and c") // and none of room's
		if err := s.Publish("room", hail.Text("to all of the room")); err != nil {
			t.Fatal(err)
		}
		want(t, a, "to all of the room") // and none of its own
	})
}

func want(t *testing.T, p *hailtest.Peer, text string) {
	t.Helper()
	if got := p.Receive(); got.String() != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

func TestPublishAndSendArriveInTheirOrder(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{})
		s.OnMessage = func(c *hail.Conn, m hail.Message) error {
			for i := range 50 {
				if err := errors.Join(c.Send(hail.Text(fmt.Sprint("send ", i))), s.Publish("room", hail.Text(fmt.Sprint("publish ", i)))); err != nil {
					return err
				}
			}
			return nil
		}
		p := hailtest.Dial(t, s, "/?on=room", opts...)
		want(t, p, "hello")
		p.Send(hail.Text("go"))
		for i := range 50 {
			want(t, p, fmt.Sprint("send ", i))
			want(t, p, fmt.Sprint("publish ", i))
		}
	})
}

func TestBroadcast(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{MaxTopics: 1})
		var peers []*hailtest.Peer
		for i := range 3 {
			p := hailtest.Dial(t, s, "/?on=a", opts...)
			peers = append(peers, p)
			want(t, p, "hello")
			open(t, s, i+1)
			if err := s.Broadcast(hail.Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range peers {
			for n := i; n < len(peers); n++ {
				want(t, p, fmt.Sprint(n))
			}
		}
		for c := range s.Conns() {
			if got := c.Topics(); !slices.Equal(got, []string{"a"}) {
				t.Errorf("Topics() = %q, want those of the user", got)
			}
		}
		for topic, n := range s.Topics() {
			if topic != "a" || n != 3 {
				t.Errorf("topic %q with %d subscribers, want a with 3", topic, n)
			}
		}
	})
}

// If a connection has been seen open, a broadcast reaches it.
func TestBroadcastReachesWhoHasJustOpened(t *testing.T) {
	for name, before := range map[string]int{"the first": 0, "behind the first": 1, "one of many": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range kit.Often(200) {
				s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
				s.OnConnect = func(*hail.Conn, *http.Request) error { return nil }
				var all sync.WaitGroup
				for range before {
					all.Go(func() { s.Broadcast(hail.Text("before")) })
				}
				if before > 1 {
					all.Wait()
				}
				all.Go(func() {
					for s.Len() == 0 {
						runtime.Gosched()
					}
					s.Broadcast(hail.Text("now"))
				})
				p := hailtest.Dial(t, s, "/")
				all.Wait()
				s.Broadcast(hail.Text("end"))
				got := make(map[string]int)
				for got["end"] == 0 {
					got[p.Receive().String()]++
				}
				if got["now"] != 1 || got["before"] > before {
					t.Fatalf("got %v, want now once, and before %d times at the most", got, before)
				}
				p.Close(hail.StatusNormalClosure, "")
			}
		})
	}
}

// open waits until a server has so many open connections: OnConnect may still be returning when its message is there.
func open(t *testing.T, s *hail.Server, n int) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); s.Len() != n; runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("%d open connections, want %d", s.Len(), n)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	s := room(hail.Options{MaxTopics: 2})
	conns := make(chan *hail.Conn, 1)
	closed := make(chan struct{})
	s.OnConnect = func(c *hail.Conn, _ *http.Request) error { conns <- c; return nil }
	s.OnClose = func(c *hail.Conn, _ hail.CloseInfo) {
		if got := c.Topics(); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("OnClose: Topics() = %q, want b and c", got)
		}
		close(closed)
	}
	p := hailtest.Dial(t, s, "/")
	c := <-conns
	check := func(err error, part string) {
		t.Helper()
		if (err == nil) != (part == "") || err != nil && !strings.Contains(err.Error(), part) {
			t.Errorf("got error %v, want %q", err, part)
		}
	}
	check(c.Subscribe("a", "b", "a"), "")
	check(c.Subscribe("c"), "Options.MaxTopics")
	check(c.Unsubscribe("a", "unknown"), "")
	check(c.Subscribe("c"), "")
	if got := c.Topics(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("Topics() = %q, want b and c", got)
	}
	check(s.Publish("a", hail.Text("not for it")), "")
	check(s.Publish("c", hail.Text("for it")), "")
	want(t, p, "for it")
	check(c.Subscribe(strings.Repeat("n", 257)), "longer than 256")
	check(c.Subscribe("\xff"), "UTF-8")
	check(s.Publish(strings.Repeat("n", 257), hail.Text("")), "longer than 256")
	check(s.Publish("b", hail.Text("\xff")), "UTF-8")
	check(s.Publish("b", hail.Message{}), "message type")
	check(s.Publish("b", hail.Binary(make([]byte, 2<<20))), "Options.TopicBytes")
	check(s.PublishSeq("b", func(uint64) hail.Message { return hail.Message{} }), "message type")
	p.Close(hail.StatusNormalClosure, "")
	<-closed
	if err := c.Subscribe("a"); !errors.Is(err, hail.ErrConnClosed) {
		t.Errorf("Subscribe on a closed connection: %v, want ErrConnClosed", err)
	}
	for topic, n := range s.Topics() {
		t.Errorf("topic %q with %d subscribers is left", topic, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish("a", hail.Text("")); !errors.Is(err, hail.ErrServerClosed) {
		t.Errorf("Publish on a closed server: %v, want ErrServerClosed", err)
	}
}

// The messages of a topic that a connection has left are still kept for the connection. A peer that does not read must not
// make many such topics. They do not count as topics that the connection is on.
func TestTopicsLeftAreBounded(t *testing.T) {
	t.Parallel()
	s := room(hail.Options{MaxTopics: 4})
	conns := make(chan *hail.Conn, 1)
	s.OnConnect = func(c *hail.Conn, _ *http.Request) error { conns <- c; return nil }
	p := hailtest.Dial(t, s, "/", hailtest.BufferSize(1024))
	c := <-conns
	p.Stall()
	if err := c.Subscribe("a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	visits := 0
	var err error
	for ; err == nil && visits < 200; visits++ {
		topic := fmt.Sprint(visits)
		if err = c.Subscribe(topic); err == nil {
			err = errors.Join(s.Publish(topic, hail.Text(strings.Repeat("x", 1024))), c.Unsubscribe(topic))
		}
	}
	// The peer's buffers may have accepted a few.
	if err == nil || visits < 65 || visits > 70 || !strings.Contains(err.Error(), "left 64 topics") || !strings.Contains(err.Error(), "Options.MaxTopics") {
		t.Errorf("after %d topics: got error %v, want Options.MaxTopics after some 65", visits, err)
	}
	p.Resume()
	for range visits - 1 {
		p.Receive()
	}
	if err := c.Send(hail.Text("taken")); err != nil {
		t.Fatal(err)
	}
	want(t, p, "taken")
	if err := c.Subscribe("d"); err != nil {
		t.Errorf("Subscribe when all is taken: %v", err)
	}
}

func TestMaxTopicsLetsGoFromOneToTheNext(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{MaxTopics: 1})
		move := func(to string, publish func() error, c *hail.Conn) {
			if err := errors.Join(c.Subscribe(to), publish(), c.Unsubscribe(to)); err != nil {
				t.Errorf("move to %s: %v", to, err)
			}
		}
		const heard = 50 // messages to all, which the publisher gets too
		s.OnMessage = func(c *hail.Conn, m hail.Message) error {
			for i := range heard {
				to := fmt.Sprint("all ", i)
				move(to, func() error { return s.Publish(to, hail.Text(to)) }, c)
			}
			for i := range 200 {
				to := fmt.Sprint("others ", i)
				move(to, func() error { return c.Publish(to, hail.Text(to)) }, c)
			}
			return c.Send(m)
		}
		p := hailtest.Dial(t, s, "/", opts...)
		want(t, p, "hello")
		p.Send(hail.Text("go"))
		for range heard {
			if got := p.Receive().String(); !strings.HasPrefix(got, "all ") {
				t.Errorf("got %q, want the message that was published to all", got)
			}
		}
		want(t, p, "go")
	})
}

func TestSlowConsumer(t *testing.T) {
	for name, o := range map[string]hail.Options{
		"TopicMessages": {TopicMessages: 16, TopicBytes: -1},
		"TopicBytes":    {TopicBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := room(o)
			infos, errs := kit.NewCloses(), make(chan error, 1)
			s.OnClose = func(c *hail.Conn, info hail.CloseInfo) {
				notOfPublisher(t)
				infos.Note(c, info)
			}
			s.OnError = func(_ *hail.Conn, err error) {
				notOfPublisher(t)
				errs <- err
			}
			slow := hailtest.Dial(t, s, "/?on=room", hailtest.TCP())
			want(t, slow, "hello")
			open(t, s, 1)
			var c *hail.Conn
			for c = range s.Conns() {
			}
			quick := hailtest.Dial(t, s, "/?on=room", hailtest.TCP())
			want(t, quick, "hello")
			slow.Stall()
			m := hail.Binary(make([]byte, 64<<10))
			n := 0
			for ; c.Subscribe("room") == nil && n < 10000; n++ {
				if err := s.Publish("room", m); err != nil {
					t.Fatal(err)
				}
				if got := quick.Receive(); len(got.Data) != len(m.Data) {
					t.Fatalf("the quick one gets %d bytes, want %d", len(got.Data), len(m.Data))
				}
			}
			slow.Resume()
			if got := slow.WaitClose(); got.Code != hail.StatusTryAgainLater {
				t.Errorf("the peer reads %v, want 1013", got)
			}
			info := infos.Next(t)
			if got := c.Topics(); !slices.Equal(got, []string{"room"}) {
				t.Errorf("Topics() = %q, want room still", got)
			}
			if err := <-errs; !errors.Is(info.Err, err) {
				t.Errorf("OnError is told %v, OnClose %v", err, info.Err)
			}
			if info.Code != hail.StatusTryAgainLater || info.Cause != hail.CauseSlowConsumer ||
				!strings.Contains(info.Err.Error(), "Options."+name) || !strings.Contains(info.Err.Error(), "messages behind") {
				t.Errorf("got %+v, want 1013, slow consumer and Options.%s", info, name)
			}
			if st := s.Stats(); st.Undelivered == 0 || st.Published != uint64(n) {
				t.Errorf("%d undelivered of %d published, want some of %d", st.Undelivered, st.Published, n)
			}
		})
	}
}

// notOfPublisher checks that a callback does not run on a goroutine that publishes.
func notOfPublisher(t *testing.T) {
	if stack := string(debug.Stack()); strings.Contains(stack, "fanout.") {
		t.Errorf("a callback runs within a publish: %s", stack)
	}
}

func TestHistory(t *testing.T) {
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := room(hail.Options{History: hail.History{Messages: 3}})
		completes := make(chan bool, 1)
		var since uint64
		s.OnConnect = func(c *hail.Conn, r *http.Request) error {
			complete, err := c.SubscribeSince("room", since)
			completes <- complete
			return err
		}
		var seqs []uint64
		for i := range 5 {
			err := s.PublishSeq("room", func(seq uint64) hail.Message {
				seqs = append(seqs[:i], seq)
				return hail.Text(fmt.Sprint(i))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			since    uint64
			from     int
			complete bool
		}{{seqs[3], 4, true}, {seqs[1], 2, true}, {seqs[0], 2, false}, {seqs[4], 5, true}, {0, 2, false}} {
			since = tc.since
			p := hailtest.Dial(t, s, "/", opts...)
			if got := <-completes; got != tc.complete {
				t.Errorf("since message %d: complete = %v, want %v", slices.Index(seqs, since), got, tc.complete)
			}
			for i := tc.from; i < 5; i++ {
				want(t, p, fmt.Sprint(i))
			}
			p.Close(hail.StatusNormalClosure, "")
		}
	})
}
