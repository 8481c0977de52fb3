package lifecycle_test

// Many connections and many goroutines at once: what is promised of one has to hold for all.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// dial connects to a handler.
type dial func(target string, opts ...hailtest.Option) *hailtest.Peer

// dialers are ways to connect often. Over TCP all go to one server: each port is kept for a minute behind its last connection.
var dialers = map[string]func(t *testing.T, h http.Handler) dial{
	"memory": func(t *testing.T, h http.Handler) dial {
		return func(target string, opts ...hailtest.Option) *hailtest.Peer {
			t.Helper()
			return hailtest.Dial(t, h, target, opts...)
		}
	},
	"tcp": func(t *testing.T, h http.Handler) dial {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return func(target string, opts ...hailtest.Option) *hailtest.Peer {
			t.Helper()
			return hailtest.DialURL(t, "ws"+strings.TrimPrefix(server.URL, "http")+target, opts...)
		}
	},
}

// life counts one connection's callbacks.
type life struct {
	conn                       chan *hail.Conn
	running                    atomic.Int32
	connects, messages, closes atomic.Int32
}

// enter is called where a callback begins, what it returns where it ends.
func (l *life) enter(t *testing.T, callback string) func() {
	if n := l.running.Add(1); n != 1 {
		t.Errorf("%s runs beside another callback of its connection", callback)
	}
	if l.closes.Load() > 0 {
		t.Errorf("%s was called after OnClose", callback)
	}
	return func() { l.running.Add(-1) }
}

// death is a way for a connection to end.
type death struct {
	query  string // of the request; tells OnConnect
	kill   func(t *testing.T, p *hailtest.Peer, c *hail.Conn)
	causes []hail.Cause // that OnClose may be told
	lasts  bool         // until Server.Close
}

func (d death) refused() bool { return d.query != "" }

var deaths = map[string]death{
	"close handshake": {kill: func(t *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		if got := p.Close(4000, "bye"); got.Code != 4000 {
			t.Errorf("close: got %v, want 4000", got)
		}
	}, causes: []hail.Cause{hail.CausePeerClosed}},
	"FIN": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.CloseWrite() },
		causes: []hail.Cause{hail.CausePeerGone}},
	"RST": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Reset() },
		causes: []hail.Cause{hail.CausePeerGone}},
	"FIN in a frame": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(kit.Message(make([]byte, 100))[:50])
		p.CloseWrite()
	}, causes: []hail.Cause{hail.CausePeerGone}},
	"RST in a fragmented message": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(kit.Fragments(false, make([]byte, 100), 30)[:60])
		p.Reset()
	}, causes: []hail.Cause{hail.CausePeerGone}},
	"RST behind a flood": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(bytes.Repeat(kit.Message([]byte("flood")), 300))
		p.Reset()
	}, causes: []hail.Cause{hail.CausePeerGone}},
	"vanished, then closed": {kill: func(t *testing.T, p *hailtest.Peer, c *hail.Conn) {
		p.Vanish()
		if err := c.Close(hail.StatusNormalClosure, ""); err != nil {
			t.Errorf("Close: %v", err)
		}
	}, causes: []hail.Cause{hail.CauseClosed}},
	"protocol error": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("x"), Unmasked: true}.Bytes())
	}, causes: []hail.Cause{hail.CauseProtocol}},
	"text that is not UTF-8": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("\xff")}.Bytes())
	}, causes: []hail.Cause{hail.CauseProtocol}},
	"read limit": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message(make([]byte, 5000))) },
		causes: []hail.Cause{hail.CauseReadLimit}},
	"callback error": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(slices.Concat(kit.Message([]byte("error")), kit.Message([]byte("too late"))))
	}, causes: []hail.Cause{hail.CauseCallback}},
	"panic": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte("panic"))) },
		causes: []hail.Cause{hail.CausePanic}},
	"goexit": {kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte("goexit"))) },
		causes: []hail.Cause{hail.CausePanic}},
	"OnConnect refused":  {query: "error", causes: []hail.Cause{hail.CauseCallback}},
	"OnConnect panicked": {query: "panic", causes: []hail.Cause{hail.CausePanic}},
	"closed by several goroutines": {kill: func(t *testing.T, _ *hailtest.Peer, c *hail.Conn) {
		var first atomic.Int32
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() { // ends with Close; waited for below
				switch err := c.Close(hail.StatusCode(4000+i), "one of several"); {
				case err == nil:
					first.Add(1)
				case !errors.Is(err, hail.ErrConnClosed):
					t.Errorf("Close: got %v, want ErrConnClosed", err)
				}
			})
		}
		group.Wait()
		if got := first.Load(); got != 1 {
			t.Errorf("%d of 4 calls of Close were the first", got)
		}
	}, causes: []hail.Cause{hail.CauseClosed}},
	"closed by both at once": {kill: func(_ *testing.T, p *hailtest.Peer, c *hail.Conn) {
		p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
		c.Close(hail.StatusGoingAway, "")
	}, causes: []hail.Cause{hail.CauseClosed, hail.CausePeerClosed}},
	"closed and reset at once": {kill: func(_ *testing.T, p *hailtest.Peer, c *hail.Conn) {
		var group sync.WaitGroup
		group.Go(p.Reset) // ends with it; waited for below
		c.Close(hail.StatusGoingAway, "")
		group.Wait()
	}, causes: []hail.Cause{hail.CauseClosed, hail.CausePeerGone}},
	"Server.Close, idle": {lasts: true},
	"Server.Close, in a frame": {lasts: true, kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
		p.Write(kit.Message(make([]byte, 100))[:50])
	}},
	"Server.Close, vanished": {lasts: true, kill: func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Vanish() }},
	"Server.Close, stalled": {lasts: true, kill: func(_ *testing.T, p *hailtest.Peer, c *hail.Conn) {
		p.Stall()
		for range 100 {
			c.TrySend(hail.Binary(make([]byte, 1000)))
		}
	}},
}

// TestManyConnectionsEndInEveryWay is not parallel: it looks at the whole process's heap.
func TestManyConnectionsEndInEveryWay(t *testing.T) {
	hailtest.NoLeaks(t)
	const batch = 125
	before := kit.Heap()
	for name, dialer := range dialers {
		t.Run(name, func(t *testing.T) {
			for i := range kit.Often(2500) / batch {
				t.Run(strconv.Itoa(i), func(t *testing.T) {
					t.Parallel()
					endInEveryWay(t, batch, dialer)
				})
			}
		})
	}
	if after, most := kit.Heap(), before+16<<20; after > most {
		t.Errorf("heap: got %d bytes after %d, want at most %d", after, before, most)
	}
}

// endInEveryWay opens n connections to one server, ends them, and holds what was told of it together.
func endInEveryWay(t *testing.T, n int, dialer func(*testing.T, http.Handler) dial) {
	lives := make([]life, n)
	infos := make([]hail.CloseInfo, n)
	closed := make(chan int, n)
	of := func(c *hail.Conn) *life { return &lives[c.State().(int)] }
	act := func(word string) error {
		switch word {
		case "error":
			return errors.New("an error")
		case "panic":
			panic("a panic")
		case "goexit":
			runtime.Goexit()
		}
		return nil
	}
	s := &hail.Server{
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error {
				i, _ := strconv.Atoi(r.URL.Path[1:])
				c.SetState(i)
				defer of(c).enter(t, "OnConnect")()
				of(c).connects.Add(1)
				of(c).conn <- c
				return act(r.URL.RawQuery)
			},
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				defer of(c).enter(t, "OnMessage")()
				of(c).messages.Add(1)
				if err := act(m.String()); err != nil {
					return err
				}
				return c.Send(m)
			},
			OnError: func(c *hail.Conn, _ error) { of(c).enter(t, "OnError")() },
			OnClose: func(c *hail.Conn, info hail.CloseInfo) {
				of(c).enter(t, "OnClose")()
				of(c).closes.Add(1)
				infos[c.State().(int)] = info
				closed <- c.State().(int)
			},
		},
		Options: hail.Options{ReadLimit: 4000, SendQueue: 16 << 10, CloseTimeout: 100 * time.Millisecond, Logger: kit.Quiet},
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range deaths {
			if !yield(name) {
				return
			}
		}
	})
	order := rand.Perm(n)
	wayOf := func(i int) string { return names[i%len(names)] }
	ending := 0
	peers := make([]*hailtest.Peer, n)
	connect := dialer(t, s)
	for _, i := range order {
		lives[i].conn = make(chan *hail.Conn, 2)
		peers[i] = connect(fmt.Sprintf("/%d?%s", i, deaths[wayOf(i)].query))
	}
	for _, i := range order {
		way := deaths[wayOf(i)]
		c := kit.Await(t, "OnConnect", lives[i].conn, kit.Ample)
		if i%3 == 0 && !way.refused() { // some have been used
			peers[i].Send(hail.Text("hello"))
			if got := peers[i].Receive().String(); got != "hello" {
				t.Errorf("echo: got %q, want hello", got)
			}
		}
		if way.kill != nil {
			way.kill(t, peers[i], c)
		}
		if !way.lasts {
			ending++
		}
	}
	for range ending {
		i := kit.Await(t, "OnClose", closed, kit.Ample)
		if way := deaths[wayOf(i)]; !slices.Contains(way.causes, infos[i].Cause) {
			t.Errorf("%s: got cause %v, want one of %v; error %v", wayOf(i), infos[i].Cause, way.causes, infos[i].Err)
		}
	}
	// Where others have the machine, callbacks may take longer than CloseTimeout.
	err := s.Close()
	for limit := time.Now().Add(kit.Ample); err != nil && time.Now().Before(limit); err = s.Close() {
	}
	if err != nil {
		t.Errorf("Server.Close: %v", err)
	}
	want := make(map[hail.Cause]uint64)
	for i := range lives {
		l := &lives[i]
		if l.connects.Load() != 1 || l.closes.Load() != 1 || l.running.Load() != 0 {
			t.Errorf("%s: %d calls of OnConnect, %d of OnClose, %d still run; want 1, 1, 0",
				wayOf(i), l.connects.Load(), l.closes.Load(), l.running.Load())
		}
		if deaths[wayOf(i)].lasts && (infos[i].Cause != hail.CauseServerClosed || infos[i].Code != hail.StatusAbnormalClosure) {
			t.Errorf("%s: got %+v, want 1006, server closed", wayOf(i), infos[i])
		}
		want[infos[i].Cause]++
	}
	checkBooks(t, s, uint64(n), want)
}

// checkBooks holds the counters of a server without connections together.
func checkBooks(t *testing.T, s *hail.Server, accepted uint64, closed map[hail.Cause]uint64) {
	t.Helper()
	st := s.Stats()
	if s.Len() != 0 || st.Open != 0 || st.Accepted != accepted || st.Refused != 0 {
		t.Errorf("got Len %d, Open %d, Accepted %d, Refused %d; want 0, 0, %d, 0", s.Len(), st.Open, st.Accepted, st.Refused, accepted)
	}
	for c := range s.Conns() {
		t.Errorf("connection %d is still there", c.ID())
	}
	for cause, n := range closed {
		if st.Closed[cause] != n {
			t.Errorf("Stats.Closed[%v]: got %d, want the %d that OnClose was told", cause, st.Closed[cause], n)
		}
	}
	total := uint64(0)
	for _, n := range st.Closed {
		total += n
	}
	if total != accepted {
		t.Errorf("Stats.Closed: got %d in all, want %d", total, accepted)
	}
}

// TestServerEndsWhileConnectionsBegin has requests meet Shutdown and Close.
func TestServerEndsWhileConnectionsBegin(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hail.Server) error{
		"Shutdown":             func(s *hail.Server) error { return shutdownIn(s, kit.Ample) },
		"Close":                (*hail.Server).Close,
		"Shutdown, then Close": func(s *hail.Server) error { return errors.Join(shutdownIn(s, kit.Ample), s.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range kit.Often(200) {
				endWhileConnectionsBegin(t, i, end)
			}
		})
	}
}

func endWhileConnectionsBegin(t *testing.T, i int, end func(*hail.Server) error) {
	const clients = 6
	var over atomic.Bool
	var connects, closes atomic.Int32
	note := func(callback string, n *atomic.Int32) {
		n.Add(1)
		if over.Load() {
			t.Errorf("%s runs after the server's end", callback)
		}
	}
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, _ *http.Request) error {
			note("OnConnect", &connects)
			runtime.Gosched()
			return c.Send(hail.Text("hello"))
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error { note("OnMessage", new(atomic.Int32)); return c.Send(m) },
		OnClose:   func(*hail.Conn, hail.CloseInfo) { note("OnClose", &closes) },
	}, Options: hail.Options{Logger: kit.Quiet}}
	server := httptest.NewServer(s)
	defer server.Close()
	var group sync.WaitGroup
	begin := make(chan struct{})
	for range clients {
		group.Go(func() { // ends with its connection; waited for below
			nc, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			<-begin
			io.WriteString(nc, "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			nc.Write(slices.Concat(kit.Message([]byte("early")), hailtest.CloseFrame(hail.StatusGoingAway, "").Bytes()))
			io.Copy(io.Discard, nc)
		})
	}
	close(begin)
	for range i % 60 {
		runtime.Gosched()
	}
	err := end(s)
	over.Store(true)
	if err != nil {
		t.Errorf("got %v, want nil", err)
	}
	group.Wait()
	st := s.Stats()
	if connects.Load() != closes.Load() || st.Accepted < uint64(connects.Load()) || st.Accepted+st.Refused != clients {
		t.Errorf("%d connected, %d closed, %d accepted, %d refused of %d", connects.Load(), closes.Load(), st.Accepted, st.Refused, clients)
	}
	if s.Len() != 0 {
		t.Errorf("Len: got %d, want 0", s.Len())
	}
}

// numbered returns a message that says who sent it as which, with content that follows from that.
func numbered(sender, seq, size int) hail.Message {
	b := make([]byte, 8, 8+size)
	binary.BigEndian.PutUint32(b, uint32(sender))
	binary.BigEndian.PutUint32(b[4:], uint32(seq))
	for i := range size {
		b = append(b, byte(sender*31+seq*7+i))
	}
	return hail.Binary(b)
}

// ledger checks that each sender's messages arrive whole, once and in order.
type ledger map[int]int // messages so far, by sender

func (l ledger) enter(t *testing.T, m hail.Message) {
	t.Helper()
	if len(m.Data) < 8 {
		t.Fatalf("got %q, want a numbered message", m)
	}
	sender, seq := int(binary.BigEndian.Uint32(m.Data)), int(binary.BigEndian.Uint32(m.Data[4:]))
	if seq != l[sender] {
		t.Fatalf("sender %d: got message %d, want %d", sender, seq, l[sender])
	}
	if want := numbered(sender, seq, len(m.Data)-8); !bytes.Equal(m.Data, want.Data) {
		t.Fatalf("sender %d, message %d: got other content", sender, seq)
	}
	l[sender]++
}

func (l ledger) total() (n int) {
	for _, k := range l {
		n += k
	}
	return n
}

// TestEverySendIsAccountedFor has 16 goroutines send to a peer that stalls.
func TestEverySendIsAccountedFor(t *testing.T) {
	t.Parallel()
	// Frames of 1 KiB: a write may well end where one does.
	const senders, frame, queue = 16, 1 << 10, 200_000
	const size = frame - 4 - 8
	for name, tc := range map[string]struct {
		writeTimeout time.Duration
		end          func(p *hailtest.Peer, c *hail.Conn, s *hail.Server)
		cut          bool
	}{
		"the peer resumes":         {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Resume() }, false},
		"the peer resumes slowly":  {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.ReadSlowly(100_000, 200*time.Microsecond) }, false},
		"cut by WriteTimeout":      {100 * time.Millisecond, func(*hailtest.Peer, *hail.Conn, *hail.Server) {}, true},
		"cut by Server.Close":      {0, func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { s.Close() }, true},
		"closed while it stalls":   {100 * time.Millisecond, func(_ *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(4000, "") }, true},
		"closed before it resumes": {0, func(p *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(4000, ""); p.Resume() }, true},
		"shut down, out of time":   {0, func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { shutdownIn(s, 50*time.Millisecond) }, true},
		"the callback's error": {0, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) {
			p.Write(kit.Message([]byte("error")))
			p.Resume()
		}, true},
		"the callback's error, cut": {100 * time.Millisecond, func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Write(kit.Message([]byte("error"))) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return errors.New("an error") }})
				s := &hail.Server{Handler: h, Options: hail.Options{
					SendQueue: queue, WriteTimeout: tc.writeTimeout, PingInterval: -1, CloseTimeout: kit.Ample, Logger: kit.Quiet,
				}}
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.BufferSize(32<<10), hailtest.Timeout(kit.Ample))...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				p.Stall()
				accepted := make([]int, senders) // by sender, of whom each has one
				most := 200                      // of one sender, where nothing ends it
				if tc.cut {
					most = 6000
				}
				var group sync.WaitGroup
				for sender := range senders {
					group.Go(func() { // ends with an error of Send, or after most; waited for below
						for accepted[sender] < most {
							err := c.Send(numbered(sender, accepted[sender], size))
							if err != nil {
								if !errors.Is(err, hail.ErrConnClosed) && !errors.Is(err, hail.ErrQueueFull) {
									t.Errorf("Send: got %v", err)
								}
								return
							}
							accepted[sender]++
						}
					})
				}
				kit.Until(t, "a full queue", func() bool {
					st := s.Stats()
					if waits := int(st.Sent)*frame - int(st.BytesOut); waits > queue {
						t.Errorf("%d bytes wait, want at most the %d of SendQueue", waits, queue)
					} else if waits <= queue-2*frame-16<<10 { // of which a stream has a chunk on its way
						return len(e.Closed) > 0
					}
					return true
				})
				tc.end(p, c, s)
				group.Wait()
				sum := 0
				for _, n := range accepted {
					sum += n
				}
				got := make(ledger)
				if !tc.cut {
					for range sum {
						got.enter(t, p.Receive())
					}
					if n := s.Stats().Undelivered; n != 0 {
						t.Errorf("Stats.Undelivered: got %d, want 0", n)
					}
				} else {
					if name == "closed before it resumes" || name == "the callback's error" {
						p.WaitClose()
					}
					info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
					p.Resume()
					p.WaitClose()
					for range p.Pending() {
						got.enter(t, p.Receive())
					}
					lost := int(s.Stats().Undelivered)
					if got.total()+lost != sum {
						t.Errorf("of %d messages that Send took %d were received and %d counted in Stats.Undelivered: %d are missing",
							sum, got.total(), lost, sum-got.total()-lost)
					}
					if (lost > 0) != (info.Err != nil && strings.Contains(info.Err.Error(), fmt.Sprintf("%d queued messages were not written", lost))) {
						t.Errorf("CloseInfo.Err: got %v, want it to tell of %d messages", info.Err, lost)
					}
				}
				if n := int(s.Stats().Sent); n != sum {
					t.Errorf("Stats.Sent: got %d, want %d", n, sum)
				}
			})
		})
	}
}

// TestFailureDoesNotWaitForWhatAPeerDoesNotTake has what is dropped then be counted.
func TestFailureDoesNotWaitForWhatAPeerDoesNotTake(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return errors.New("an error") }})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(10_000))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		const n = 100
		for seq := range n {
			if err := c.Send(numbered(0, seq, 500)); err != nil {
				t.Fatalf("Send: %v", err)
			}
			synctest.Wait() // what is being written cannot be dropped
		}
		time.Sleep(3 * time.Second)
		p.Write(kit.Message([]byte("have the callback fail")))
		synctest.Wait()
		p.Resume()
		if got := p.WaitClose(); got.Code != hail.StatusInternalError {
			t.Errorf("close: got %v, want 1011", got)
		}
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		got := make(ledger)
		for range p.Pending() {
			got.enter(t, p.Receive())
		}
		if lost := int(s.Stats().Undelivered); lost == 0 || got.total()+lost != n {
			t.Errorf("of %d messages %d were received and %d counted in Stats.Undelivered", n, got.total(), lost)
		}
		kit.CheckNames(t, info.Err, "queued messages were not written")
	})
}

func shutdownIn(s *hail.Server, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.Shutdown(ctx)
}

// TestStalledPeerTakesLittleMemory is not parallel: it looks at the whole process's heap.
func TestStalledPeerTakesLittleMemory(t *testing.T) {
	for name, opts := range kit.Transports {
		t.Run(name, func(t *testing.T) {
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: -1})}
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.BufferSize(32<<10))...)
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			p.Stall()
			before := kit.Heap()
			var group sync.WaitGroup
			data := kit.Noise(50_000)
			for range 16 {
				group.Go(func() { // ends with the connection; waited for below
					for c.Send(hail.Binary(data)) == nil {
					}
				})
			}
			kit.Until(t, "a full queue", func() bool { return c.TrySend(hail.Binary(data)) != nil && s.Stats().Sent > 10 })
			// The queue, twice while it is written and grows; a message, compressed, for each that waits.
			most := before + 2<<20 + 16*70_000 + 1<<19
			var after uint64
			for range 100 { // until all wait
				if after = kit.Heap(); after <= most {
					break
				}
			}
			if after > most {
				t.Errorf("heap: got %d bytes after %d, want at most %d", after, before, most)
			}
			s.Close()
			group.Wait()
		})
	}
}

// TestTrySendRacesClose ends connections in the middle of other goroutines' TrySend, 1,200 times.
func TestTrySendRacesClose(t *testing.T) {
	t.Parallel()
	const batch = 100
	for name, times := range map[string]int{"memory": 600, "tcp": 600} {
		// All one after the other: what the peers hold is given back, and the network is not starved.
		t.Run(name, func(t *testing.T) {
			for i := range kit.Often(times) / batch {
				t.Run(strconv.Itoa(i), func(t *testing.T) { trySendRacesClose(t, batch, dialers[name]) })
			}
		})
	}
}

func trySendRacesClose(t *testing.T, n int, dialer func(*testing.T, http.Handler) dial) {
	h, e := kit.Observed(hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return hail.CloseError{Code: 4000} }})
	s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 20_000, Logger: kit.Quiet}}
	connect := dialer(t, s)
	for i := range n {
		p := connect("/")
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		const senders = 3
		var accepted [senders]int
		closing := make(chan struct{})
		var group sync.WaitGroup
		for sender := range senders {
			group.Go(func() { // ends with the connection, or after so many; waited for below
				<-closing
				for range 100 {
					switch err := c.TrySend(numbered(sender, accepted[sender], 0)); {
					case err == nil:
						accepted[sender]++
					case !errors.Is(err, hail.ErrQueueFull):
						return
					}
				}
			})
		}
		close(closing)
		for range i % 4 {
			runtime.Gosched()
		}
		switch i % 3 {
		case 0:
			c.Close(4000, "")
		case 1:
			p.Close(4000, "")
		case 2:
			p.Write(kit.Message([]byte("have the callback fail")))
		}
		if got := p.WaitClose(); got.Code != 4000 {
			t.Errorf("close: got %v, want 4000", got)
		}
		group.Wait()
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		got := make(ledger)
		for range p.Pending() {
			got.enter(t, p.Receive())
		}
		for sender, want := range accepted {
			if got[sender] != want {
				t.Errorf("way %d: of %d messages that TrySend took %d were received; %+v", i%3, want, got[sender], info)
			}
		}
	}
	if lost := s.Stats().Undelivered; lost != 0 {
		t.Errorf("Stats.Undelivered: got %d, want 0", lost)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestManyGoroutinesSendBesideEchoes has each sender's order and every byte checked at the peer.
func TestManyGoroutinesSendBesideEchoes(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		const senders = 8
		each := kit.Often(200)
		sizeOf := func(sender, seq int) int { return (sender*7919 + seq*104729) % 3000 * (1 + seq%7/6*6) }
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error { return c.Send(m) }})
		s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 100_000, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.Timeout(kit.Ample))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		var group sync.WaitGroup
		for sender := range senders {
			group.Go(func() { // ends with its messages; waited for below
				for seq := range each {
					m := numbered(sender, seq, sizeOf(sender, seq))
					err := c.Send(m)
					clear(m.Data) // it is the caller's again
					if err != nil {
						t.Errorf("sender %d, message %d: %v", sender, seq, err)
						return
					}
				}
			})
		}
		for seq := range each { // the peer is a sender too, whose messages come back
			p.Send(numbered(senders, seq, sizeOf(senders, seq)))
		}
		got := make(ledger)
		for range (senders + 1) * each {
			got.enter(t, p.Receive())
		}
		group.Wait()
		if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want 1000", got)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CausePeerClosed, true)
		if st := s.Stats(); st.Sent != uint64((senders+1)*each) || st.Received != uint64(each) || st.Undelivered != 0 {
			t.Errorf("Stats: got %d sent, %d received, %d undelivered; want %d, %d, 0",
				st.Sent, st.Received, st.Undelivered, (senders+1)*each, each)
		}
	})
}

// TestManyBlockedCallbacksLearnOfTheirPeersEnd has the contexts of callbacks end that nobody reads for.
func TestManyBlockedCallbacksLearnOfTheirPeersEnd(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of a peer's end while nobody reads")
	}
	n := kit.Often(400)
	blocked, ended := make(chan struct{}, n), make(chan error, n)
	h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
		blocked <- struct{}{}
		select {
		case <-c.Context().Done():
			ended <- context.Cause(c.Context())
		case <-time.After(kit.Ample):
			ended <- fmt.Errorf("the context has not ended within %v", kit.Ample)
		}
		return nil
	}})
	s := &hail.Server{Handler: h}
	peers := make([]*hailtest.Peer, n)
	connect := dialers["tcp"](t, s)
	for i := range peers {
		peers[i] = connect("/")
		peers[i].Send(hail.Text("block"))
	}
	for range peers {
		kit.Await(t, "OnMessage", blocked, kit.Ample)
	}
	for i, p := range peers {
		switch i % 4 {
		case 0:
			p.CloseWrite()
		case 1:
			p.Reset()
		case 2: // behind bytes that nobody reads
			p.Write(kit.Message([]byte("unread"))[:7])
			p.CloseWrite()
		case 3:
			p.Write(kit.Message([]byte("unread"))[:7])
			p.Reset()
		}
	}
	for range peers {
		if err := kit.Await(t, "the context's end", ended, kit.Ample); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("cause: got %v, want ErrConnClosed", err)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusAbnormalClosure, hail.CausePeerGone, false)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	checkBooks(t, s, uint64(n), map[hail.Cause]uint64{hail.CausePeerGone: uint64(n)})
}

// TestEndedConnectionsAreForgotten has the server keep nothing of them.
func TestEndedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		const n = 30
		var forgotten atomic.Int32
		closed := make(chan struct{}, n)
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, _ *http.Request) error {
				runtime.AddCleanup(c, func(int) { forgotten.Add(1) }, 0)
				return c.Send(hail.Text("hello"))
			},
			OnClose: func(*hail.Conn, hail.CloseInfo) { closed <- struct{}{} },
		}, Options: hail.Options{Compression: true}}
		for i := range n {
			p := hailtest.Dial(t, s, "/", opts...)
			p.Receive()
			if i%2 == 0 {
				p.Close(hail.StatusNormalClosure, "")
			} else {
				p.Reset()
			}
			kit.Await(t, "OnClose", closed, kit.Ample)
		}
		kit.Until(t, "all connections forgotten", func() bool {
			runtime.GC()
			return forgotten.Load() == n
		})
		runtime.KeepAlive(s)
	})
}

// TestBytesThatEndAnywhere cuts a stream of frames at each of its bytes: what is not whole is no message.
func TestBytesThatEndAnywhere(t *testing.T) {
	t.Parallel()
	parts := []struct {
		b       []byte
		message string // that is whole with its last byte
	}{
		{kit.Message([]byte("plain")), "plain"},
		{hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte("ping")}.Bytes(), ""},
		{kit.Message(bytes.Repeat([]byte("x"), 126)), strings.Repeat("x", 126)},
		{kit.Fragments(false, []byte("in parts"), 2, 0, 3), "in parts"},
		{kit.Fragments(true, kit.Deflate([]byte("compressed"))), "compressed"},
		{kit.Fragments(true, kit.Deflate([]byte("compressed parts")), 4), "compressed parts"},
		{hailtest.CloseFrame(4000, "bye").Bytes(), ""},
	}
	var stream []byte
	for _, part := range parts {
		stream = append(stream, part.b...)
	}
	test := func(t *testing.T, n int, leave func(*hailtest.Peer), lossless bool, connect dial, e kit.Events) {
		p := connect("/", hailtest.Compression())
		p.Write(stream[:n])
		leave(p)
		info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
		var want []string
		for rest, i := n, 0; i < len(parts) && rest >= len(parts[i].b); i++ {
			if rest -= len(parts[i].b); parts[i].message != "" {
				want = append(want, parts[i].message)
			}
		}
		var got []string
		for len(e.Msgs) > 0 {
			got = append(got, (<-e.Msgs).String())
		}
		if !lossless {
			want = want[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d bytes: OnMessage got %.20q, want %.20q", n, got, want)
		}
		wantCause := hail.CausePeerGone
		if n == len(stream) {
			wantCause = hail.CausePeerClosed
		}
		if lossless && info.Cause != wantCause || len(e.Errs) > 0 {
			t.Errorf("%d bytes: got %+v, %d errors; want %v and no error", n, info, len(e.Errs), wantCause)
		}
	}
	for name, leave := range map[string]func(*hailtest.Peer){"FIN": (*hailtest.Peer).CloseWrite, "RST": (*hailtest.Peer).Reset} {
		for transport, dialer := range dialers {
			t.Run(name+" "+transport, func(t *testing.T) {
				t.Parallel()
				h, e := kit.Observed(hail.Handler{})
				connect := dialer(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true, Logger: kit.Quiet}})
				step := 1
				if testing.Short() {
					step = 11
				}
				for n := 0; n <= len(stream); n += step {
					test(t, n, leave, name == "FIN", connect, e)
				}
			})
		}
	}
}

func TestNothingFollowsTheCloseFrame(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", kit.Narrow(opts)...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		p.Write(hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte("a fragment")}.Bytes())
		synctest.Wait()
		if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		synctest.Wait() // a byte of the close frame is written
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte("late")}.Bytes())
		synctest.Wait()
		p.Resume()
		p.WaitClose() // fails at a pong behind the close frame
	})
}

// TestEarlyData sends frames in the handshake's packet.
func TestEarlyData(t *testing.T) {
	t.Parallel()
	server := func() (*hail.Server, kit.Events) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			if c.State() != "connected" {
				return errors.New("OnMessage before OnConnect")
			}
			return c.Send(m)
		}, OnConnect: func(c *hail.Conn, _ *http.Request) error {
			c.SetState("connected")
			return c.Send(hail.Text("welcome"))
		}})
		return &hail.Server{Handler: h, Options: hail.Options{Compression: true, CloseTimeout: time.Second}}, e
	}
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		t.Run("of every size", func(t *testing.T) {
			// A handshake and its early data share a buffer of 4 KiB: their sum goes past it here.
			for size := 3600; size < 4200; size += 13 {
				s, _ := server()
				want := kit.Noise(size)
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(kit.Message(want)))...)
				if got := p.Receive().String(); got != "welcome" {
					t.Errorf("got %q first, want what OnConnect sends", got)
				}
				if got := p.Receive(); !bytes.Equal(got.Data, want) {
					t.Errorf("echo of %d bytes: got %d", size, len(got.Data))
				}
			}
		})
		t.Run("of several messages", func(t *testing.T) {
			for _, size := range []int{0, 1, 125, 126, 1000, 30_000, 65_536} {
				s, _ := server()
				var early []byte
				for seq := range 10 {
					early = append(early, kit.Message(numbered(1, seq, size/8).Data)...)
				}
				p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(early))...)
				p.Receive()
				got := make(ledger)
				for range 10 {
					got.enter(t, p.Receive())
				}
			}
		})
		t.Run("that is a part", func(t *testing.T) {
			for name, b := range map[string][]byte{
				"a frame":   kit.Message([]byte("whole")),
				"fragments": kit.Fragments(false, []byte("whole"), 2),
			} {
				for n := range len(b) {
					s, _ := server()
					p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(b[:n]))...)
					p.Receive()
					p.Write(b[n:])
					if got := p.Receive().String(); got != "whole" {
						t.Errorf("%s, %d bytes early: got %q, want the whole message", name, n, got)
					}
				}
			}
		})
		t.Run("with the close frame", func(t *testing.T) {
			s, e := server()
			early := slices.Concat(kit.Message([]byte("all")), hailtest.CloseFrame(4000, "that is all").Bytes())
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData(early))...)
			for _, want := range []string{"welcome", "all"} {
				if got := p.Receive().String(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if got := p.WaitClose(); got.Code != 4000 {
				t.Errorf("close: got %v, want 4000", got)
			}
			kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), 4000, hail.CausePeerClosed, true)
		})
		t.Run("that breaks the protocol", func(t *testing.T) {
			s, e := server()
			p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.EarlyData([]byte("GET / HTTP/1.1\r\n\r\n")))...)
			if got := p.WaitClose(); got.Code != hail.StatusProtocolError {
				t.Errorf("close: got %v, want 1002", got)
			}
			p.CloseWrite()
			kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusProtocolError, hail.CauseProtocol, false)
		})
	})
}

func TestStatsReceivedCountsOnlyWhatOnMessageGets(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{MessageRate: 1, MessageBurst: 1}}
	p := hailtest.Dial(t, s, "/")
	p.Write(slices.Repeat(kit.Message([]byte("m")), 2))
	kit.Await(t, "OnClose", e.Closed, kit.Ample)
	if got, want := s.Stats().Received, uint64(len(e.Msgs)); got != want {
		t.Errorf("Stats.Received: got %d, want the %d that were given to OnMessage", got, want)
	}
}

func TestStatsBytesInCountsEarlyData(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h}
	b := kit.Message([]byte("early"))
	hailtest.Dial(t, s, "/", hailtest.EarlyData(b))
	kit.Await(t, "OnMessage", e.Msgs, kit.Ample)
	if got, want := s.Stats().BytesIn, uint64(len(b)); got != want {
		t.Errorf("Stats.BytesIn: got %d, want %d", got, want)
	}
}
