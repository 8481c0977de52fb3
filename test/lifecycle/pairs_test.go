package lifecycle_test

// Every two ends of a connection, one after the other or at once, while each of its callbacks runs.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// pair is a connection to which two ends come.
type pair struct {
	place         string // the callback that runs meanwhile, "" for none
	outcome       string // of that callback
	first, second string
	settled       bool // the second end comes when the first has had its effect
}

// doomed is the connection of a pair.
type doomed struct {
	pair
	s         *hail.Server
	p         *hailtest.Peer
	nc        *brokenConn
	vanished  bool
	runs      chan *hail.Conn // the callback in question runs
	release   chan struct{}
	ends      sync.WaitGroup // calls of Shutdown and Close
	closed    chan hail.CloseInfo
	held      bool // runs was told
	c         *hail.Conn
	failures  int          // of callbacks, that OnError is to be told of
	reports   int          // calls of OnError
	queued    atomic.Int32 // messages
	published int          // others
	closes    int          // calls of OnClose
	ctxsCause error
}

// pairEnds are ends of a connection, and what is near to one.
var pairEnds = map[string]func(*doomed){
	"Conn.Close":         func(d *doomed) { d.c.Close(4000, "ours") },
	"Shutdown":           func(d *doomed) { d.ends.Go(func() { shutdownIn(d.s, 20*time.Second) }) },
	"Shutdown, at once":  func(d *doomed) { d.ends.Go(func() { shutdownIn(d.s, 0) }) },
	"Server.Close":       func(d *doomed) { d.ends.Go(func() { d.s.Close() }) },
	"close frame":        func(d *doomed) { d.write(hailtest.CloseFrame(3000, "theirs").Bytes()) },
	"half a close frame": func(d *doomed) { d.write(hailtest.CloseFrame(3000, "theirs").Bytes()[:5]) },
	"illegal code":       func(d *doomed) { d.write(hailtest.CloseFrame(999, "").Bytes()) },
	"illegal reason":     func(d *doomed) { d.write(hailtest.CloseFrame(3000, "\xff").Bytes()) },
	"unmasked":           func(d *doomed) { d.write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Unmasked: true}.Bytes()) },
	"too big":            func(d *doomed) { d.write(kit.Message(make([]byte, 2000))) },
	"not UTF-8": func(d *doomed) {
		d.write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("\xff")}.Bytes())
	},
	"part of a message": func(d *doomed) { d.write(kit.Message(make([]byte, 500))[:100]) },
	"a message":         func(d *doomed) { d.write(kit.Message([]byte("x"))) },
	"FIN":               func(d *doomed) { d.p.CloseWrite() },
	"RST":               func(d *doomed) { d.p.Reset() },
	"silence":           func(d *doomed) { d.vanished = true; d.p.Vanish() },
	"failed write":      func(d *doomed) { d.nc.broken.Store(true); d.send(d.c) },
	"slow consumer": func(d *doomed) {
		d.p.Stall()
		for range 60 {
			if d.s.Publish("room", hail.Binary(make([]byte, 500))) == nil {
				d.published++
			}
		}
	},
}

func (d *doomed) write(b []byte) {
	if !d.vanished {
		d.p.Write(b)
	}
}

func (d *doomed) send(c *hail.Conn) error {
	err := c.TrySend(hail.Text("hello"))
	if err == nil {
		d.queued.Add(1)
	}
	return err
}

// TestPairs holds what the user is told of each pair together.
func TestPairs(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(pairEnds))
	for _, place := range []string{"", "OnConnect", "OnMessage", "OnError"} {
		for _, outcome := range []string{"nil", "error", "CloseError", "panic", "Goexit", "Close", "Send's error"} {
			if place == "" && outcome != "nil" {
				continue
			}
			t.Run(place+" "+outcome, func(t *testing.T) {
				t.Parallel()
				for i := range len(names) * len(names) {
					if testing.Short() && i%5 != 0 {
						continue
					}
					d := &doomed{pair: pair{place, outcome, names[i%len(names)], names[i/len(names)], rand.IntN(2) == 0}}
					synctest.Test(t, func(t *testing.T) { d.end(t) })
				}
			})
		}
	}
}

// end makes the connection, and ends it.
func (d *doomed) end(t *testing.T) {
	d.runs, d.release, d.closed = make(chan *hail.Conn, 1), make(chan struct{}), make(chan hail.CloseInfo, 2)
	d.s = &hail.Server{Handler: d.handler(t), Options: hail.Options{
		ReadLimit: 1000, TopicMessages: 10, CloseTimeout: 3 * time.Second, WriteTimeout: 4 * time.Second, MessageTimeout: 2 * time.Second,
		PingInterval: 5 * time.Second, PongTimeout: 3 * time.Second, Logger: kit.Quiet,
	}}
	wrap := hailtest.Wrap(func(inner net.Conn) net.Conn { d.nc = &brokenConn{Conn: inner}; return d.nc })
	d.p = hailtest.Dial(t, d.s, "/", wrap, hailtest.BufferSize(8<<10), hailtest.Timeout(time.Hour))
	if d.place == "OnMessage" || d.place == "OnError" {
		d.p.Write(kit.Message([]byte("x")))
	}
	d.c = <-d.runs
	synctest.Wait()
	for _, end := range []string{d.first, d.second} {
		pairEnds[end](d)
		if d.settled {
			synctest.Wait()
		}
	}
	close(d.release)
	var info hail.CloseInfo
	const most = 12 * time.Second // 8 s of silence, then 3 s of CloseTimeout
	select {
	case info = <-d.closed:
	case <-time.After(most):
		if d.first != "a message" || d.second != "a message" || d.outcome != "nil" && d.outcome != "Send's error" && d.place != "OnError" {
			t.Errorf("%+v: OnClose was not called within %v", d.pair, most)
		}
		d.s.Close()
		info = <-d.closed
	}
	d.s.Close()
	d.ends.Wait()
	d.check(t, info)
}

func (d *doomed) handler(t *testing.T) hail.Handler {
	return hail.Handler{
		OnConnect: func(c *hail.Conn, _ *http.Request) error {
			c.Context()
			if err := c.Subscribe("room"); err != nil {
				t.Errorf("%+v: Subscribe: %v", d.pair, err)
			}
			if d.place == "" {
				d.runs <- c
			}
			return d.callback(t, "OnConnect", c)
		},
		OnMessage: func(c *hail.Conn, _ hail.Message) error { return d.callback(t, "OnMessage", c) },
		OnError: func(c *hail.Conn, _ error) {
			d.reports++
			d.callback(t, "OnError", c)
		},
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			d.closes++
			d.ctxsCause = context.Cause(c.Context())
			d.closed <- info
		},
	}
}

// callback is every callback except OnClose. The first call in question waits for both ends.
func (d *doomed) callback(t *testing.T, place string, c *hail.Conn) error {
	if d.closes > 0 {
		t.Errorf("%+v: %s was called after OnClose", d.pair, place)
	}
	d.send(c)
	switch {
	case d.place == "OnError" && place == "OnMessage":
		d.failures++
		return errors.New("something for OnError")
	case d.place != place || d.held:
		return nil
	}
	d.held = true
	d.runs <- c
	<-d.release
	err := d.send(c)
	switch d.outcome {
	case "Close":
		c.Close(4200, "its own")
		return nil
	case "Send's error":
		return err
	case "nil":
		return nil
	}
	if place != "OnError" {
		d.failures++
	}
	switch d.outcome {
	case "CloseError":
		return hail.CloseError{Code: 4100, Reason: "chosen"}
	case "panic":
		panic("a panic")
	case "Goexit":
		runtime.Goexit()
	}
	return errors.New("an error")
}

// endsTransport reports whether an end is the transport's.
func endsTransport(end string) bool {
	return slices.Contains([]string{"FIN", "RST", "failed write"}, end)
}

// check holds together all that was told of the connection's end.
func (d *doomed) check(t *testing.T, info hail.CloseInfo) {
	t.Helper()
	what := fmt.Sprintf("%+v: %d, %v, %v", d.pair, info.Code, info.Cause, info.Err)
	if d.closes != 1 || info.Cause <= 0 || info.Code < 1000 {
		t.Errorf("%s: OnClose was called %d times, want once, with a code and a cause", what, d.closes)
	}
	breaches := 0
	switch info.Cause {
	case hail.CauseProtocol, hail.CauseReadLimit, hail.CauseMessageTimeout, hail.CauseSlowConsumer:
		breaches = 1
	}
	if d.reports != d.failures+breaches {
		t.Errorf("%s: OnError was called %d times, want for %d errors of callbacks and %d of the peer", what, d.reports, d.failures, breaches)
	}
	st, queued := d.s.Stats(), int(d.queued.Load())
	if d.s.Len() != 0 || st.Open != 0 || len(st.Closed) != 1 || st.Closed[info.Cause] != 1 || int(st.Sent) != queued {
		t.Errorf("%s: got Len %d, %+v; want 0, no connection open, one closed, %d messages sent", what, d.s.Len(), st, queued)
	}
	if lost := int(st.Undelivered); lost > 0 && info.Err == nil || d.p.Pending()+lost > queued+d.published {
		t.Errorf("%s: %d messages undelivered, %d arrived, %d queued, %d published", what, lost, d.p.Pending(), queued, d.published)
	}
	if info.Cause == hail.CausePeerGone && !endsTransport(d.first) && !endsTransport(d.second) {
		t.Errorf("%s: got the transport as the cause, want one of the ends", what)
	}
	ofServer := info.Cause == hail.CauseShutdown || info.Cause == hail.CauseServerClosed
	if !errors.Is(d.ctxsCause, hail.ErrConnClosed) || errors.Is(d.ctxsCause, hail.ErrServerClosed) != ofServer {
		t.Errorf("%s: the context's cause was %v", what, d.ctxsCause)
	}
	var told hail.CloseError
	errors.As(d.ctxsCause, &told)
	// The context may have ended while it was not known yet whether the close frame would be written.
	const none = hail.StatusAbnormalClosure
	if told.Code != info.Code && told.Code != none && info.Code != none {
		t.Errorf("%s: the context's cause has code %d", what, told.Code)
	}
}
