package lifecycle_test

// Many connections that end in every way, while others begin.

import (
	"bytes"
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
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// dial connects to a handler.
type dial func(target string, opts ...hailtest.Option) *hailtest.Peer

// dialers are ways to connect often. Over TCP all connect to one server: the system keeps each port for a minute after its
// last connection.
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

// enter is called when a callback begins. The function that it returns is called when the callback ends.
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

// endInEveryWay opens n connections to one server, ends them, and checks their callbacks and causes and the server's counters.
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
	// On a busy machine callbacks may last longer than CloseTimeout.
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

// checkBooks compares the counters of a server without connections.
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
