package lifecycle_test

// How connections end, and that nothing follows.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

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
					t.Errorf("got %q, want the messages that were queued before Close", got)
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

// TestPeerThatEndsItsSendingDirection has a peer do so without a close frame, while messages wait for it: it is gone.
func TestPeerThatEndsItsSendingDirection(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		closed, full := kit.NewCloses(), make(chan *hail.Conn)
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
		s.OnConnect = kit.Accept
		s.OnMessage = func(c *hail.Conn, m hail.Message) error {
			for c.TrySend(hail.Binary(kit.Noise(100_000))) == nil {
			}
			full <- c
			return nil
		}
		s.OnClose = closed.Note
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
		p.Stall()
		p.Send(hail.Text("go"))
		c := <-full
		p.CloseWrite()
		<-c.Context().Done()
		if err := c.Send(hail.Text("late")); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("Send after the end: got %v, want %v", err, hail.ErrConnClosed)
		}
		info := closed.Next(t)
		kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CausePeerGone, false)
		if !errors.Is(info.Err, io.EOF) || s.Stats().Undelivered == 0 {
			t.Errorf("got %v, %d undelivered, want %v and some", info.Err, s.Stats().Undelivered, io.EOF)
		}
	})
}

// TestNothingFollowsACallbacksError has a callback return the error of Send. The peer's connection accepts nothing more, but
// the peer has sent more messages.
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

// TestShutdownEndsWhatCannotBeWritten calls Shutdown before or after a callback returns the error of Send.
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

// In TestCloseTimeoutWhereOnlyWritesFailAndCallbacksTakeTime a callback runs nearly all the time.
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

// TestOpenedTellsWhoWasAccepted has OnConnect accept or refuse, and each kind of end follow.
func TestOpenedTellsWhoWasAccepted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		connect func(*hail.Conn) error
		want    bool
	}{
		"accepted":            {func(*hail.Conn) error { return nil }, true},
		"closed and accepted": {func(c *hail.Conn) error { return c.Close(4000, "") }, true},
		"refused":             {func(*hail.Conn) error { return hail.CloseError{Code: 4001} }, false},
		"closed and refused":  {func(c *hail.Conn) error { return errors.Join(c.Close(4000, ""), errors.New("no")) }, false},
		"panicked":            {func(*hail.Conn) error { panic("no") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				closed := kit.NewCloses()
				s := &hail.Server{Handler: hail.Handler{
					OnConnect: func(c *hail.Conn, _ *http.Request) error { return tc.connect(c) },
					OnClose:   closed.Note,
				}, Options: hail.Options{Logger: kit.Quiet}}
				hailtest.Dial(t, s, "/", opts...).Close(hail.StatusNormalClosure, "")
				if info := closed.Next(t); info.Opened != tc.want {
					t.Errorf("CloseInfo: got %+v, want Opened %v", info, tc.want)
				}
			})
		})
	}
}

// TestCloseNow cuts a connection in each callback and from outside, with messages that the peer does not read.
func TestCloseNow(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"OnConnect", "OnMessage", "outside", "after Close"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				cut := func(at string, c *hail.Conn) error {
					if at == where {
						c.CloseNow()
						c.CloseNow() // does nothing
					}
					return nil
				}
				conns := make(chan *hail.Conn, 1)
				h, e := kit.Observed(hail.Handler{
					OnConnect: func(c *hail.Conn, _ *http.Request) error {
						conns <- c
						return cut("OnConnect", c)
					},
					OnMessage: func(c *hail.Conn, _ hail.Message) error { return cut("OnMessage", c) },
				})
				s := &hail.Server{Handler: h}
				p := hailtest.Dial(t, s, "/", opts...)
				c := kit.Await(t, "OnConnect", conns, kit.Ample)
				switch where {
				case "OnMessage":
					p.Send(hail.Text("cut"))
				case "after Close":
					p.Stall()
					c.Close(hail.StatusGoingAway, "bye")
				}
				cut("outside", c)
				cut("after Close", c)
				kit.Await(t, "the context", c.Context().Done(), kit.Ample)
				if err := c.Send(hail.Text("late")); !errors.Is(err, hail.ErrConnClosed) {
					t.Errorf("Send: got %v, want ErrConnClosed", err)
				}
				info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
				if where != "after Close" && info.Code != hail.StatusAbnormalClosure || info.Cause != hail.CauseClosed || info.Err == nil {
					t.Errorf("CloseInfo: got %+v, want 1006, closed, an error", info)
				}
				if got := s.Len(); got != 0 {
					t.Errorf("Len: got %d, want 0", got)
				}
			})
		})
	}
}
