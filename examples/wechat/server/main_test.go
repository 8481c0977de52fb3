package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

var plain = settings{greeting: hail.DefaultGreeting, reply: hail.DefaultReply}

// start returns a server, the handler it is mounted in, and the lines it prints.
func start(set settings) (*hail.Server, http.Handler, *printed) {
	out := &printed{}
	log := slog.New(slog.NewTextHandler(out, nil))
	ws := newServer(log, set)
	ws.Logger = log
	return ws, routes(ws, log, set), out
}

// shutDown returns after the server's last OnClose.
func shutDown(t *testing.T, ws *hail.Server) {
	t.Helper()
	if err := ws.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		origin string // "": none
		status int
	}{
		"a mini program has none":            {"", http.StatusSwitchingProtocols},
		"a mini game's runtime":              {"weapp://wechat-game-runtime", http.StatusSwitchingProtocols},
		"a mini game's appid":                {"weapp://wx0123456789abcdef", http.StatusSwitchingProtocols},
		"the server's own page":              {"http://hail.example", http.StatusSwitchingProtocols},
		"a page elsewhere":                   {"https://elsewhere.example", http.StatusForbidden},
		"a page whose host names the scheme": {"https://weapp", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, handler, out := start(plain)
			resp := hailtest.Handshake(t, handler, "/ws", hailtest.Header("Host", "hail.example"), hailtest.Origin(test.origin))
			if resp.StatusCode != test.status {
				t.Errorf("got status %d, want %d", resp.StatusCode, test.status)
			}
			if test.status == http.StatusForbidden {
				out.wait(test.origin)
			}
			shutDown(t, ws)
		})
	}
}

func TestSubprotocol(t *testing.T) {
	t.Parallel()
	const field = "Sec-WebSocket-Protocol"
	for name, test := range map[string]struct {
		offered, want []string // headers of the handshake and of the response
		printed       string
	}{
		"the one offered is echoed":     {[]string{subprotocol}, []string{subprotocol}, "subprotocol=greeter "},
		"the known one is chosen":       {[]string{"other", subprotocol, "third"}, []string{subprotocol}, "subprotocol=greeter "},
		"none is invented":              {nil, nil, `subprotocol="" `},
		"an unknown one is not claimed": {[]string{"other"}, nil, `subprotocol="" `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, handler, out := start(plain)
			resp := hailtest.Handshake(t, handler, "/ws", hailtest.Subprotocols(test.offered...))
			if got := resp.Header.Values(field); !slices.Equal(got, test.want) {
				t.Errorf("got %s %q, want %q", field, got, test.want)
			}
			out.wait("msg=open")
			shutDown(t, ws)
			out.wants(t, test.printed)
		})
	}
}

func TestReferer(t *testing.T) {
	t.Parallel()
	for referer, want := range map[string]miniProgram{
		"https://servicewechat.com/wx0123456789abcdef/17/page-frame.html":       {"wx0123456789abcdef", "17"},
		"https://servicewechat.com/wx0123456789abcdef/0/page-frame.html":        {"wx0123456789abcdef", "0"},
		"https://servicewechat.com/wx0123456789abcdef/devtools/page-frame.html": {"wx0123456789abcdef", "devtools"},
		"https://servicewechat.com/touristappid/devtools/page-frame.html":       {"touristappid", "devtools"},

		"": {},
		"https://servicewechat.com/wx0123456789abcdef/17/":                             {},
		"http://servicewechat.com/wx0123456789abcdef/17/page-frame.html":               {},
		"https://servicewechat.com.example/wx0123456789abcdef/17/page-frame.html":      {},
		"https://elsewhere.example/https://servicewechat.com/wx01/17/page-frame.html":  {},
		"https://servicewechat.com/wx01/17/page-frame.html?x":                          {},
		"https://servicewechat.com/wx01/17/page-frame.html\n":                          {},
		"https://servicewechat.com/" + strings.Repeat("x", 33) + "/17/page-frame.html": {},
	} {
		if got := parseReferer(referer); got != want {
			t.Errorf("%q: got %+v, want %+v", referer, got, want)
		}
	}

	ws, handler, out := start(plain)
	hailtest.Dial(t, handler, "/ws", hailtest.Header("Referer", "https://servicewechat.com/wx0123456789abcdef/17/page-frame.html"))
	out.wait("msg=open")
	shutDown(t, ws)
	out.wants(t, "msg=open", "app=wx0123456789abcdef version=17")
}

func TestDepartures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		leave func(p *hailtest.Peer)
		want  string
	}{
		"1000":           {func(p *hailtest.Peer) { p.Close(hail.StatusNormalClosure, "bye") }, "level=INFO msg=close conn=1 code=1000 reason=bye"},
		"1001":           {func(p *hailtest.Peer) { p.Close(hail.StatusGoingAway, "") }, "level=INFO msg=close conn=1 code=1001"},
		"no code":        {func(p *hailtest.Peer) { p.Close(hail.StatusNoStatusRcvd, "") }, "level=INFO msg=close conn=1 code=1005"},
		"no close frame": {func(p *hailtest.Peer) { p.CloseWrite() }, "level=INFO msg=close conn=1 code=1006"},
		"reset":          {func(p *hailtest.Peer) { p.Reset() }, "level=INFO msg=close conn=1 code=1006"},
		"an app's own":   {func(p *hailtest.Peer) { p.Close(4001, "odd") }, "level=WARN msg=close conn=1 code=4001"},
		"too long":       {func(p *hailtest.Peer) { p.Send(hail.Text(strings.Repeat("x", 64<<10+1))) }, "level=WARN msg=close conn=1 code=1009"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, handler, out := start(plain)
			p := hailtest.Dial(t, handler, "/ws")
			p.Receive()
			test.leave(p)
			out.wait("msg=close")
			shutDown(t, ws)
			out.wants(t, test.want)
		})
	}
}

// The system keeps a suspended program's socket: no FIN is sent, and nothing answers.
func TestNoticesASuspendedClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ws, handler, out := start(plain)
		p := hailtest.Dial(t, handler, "/ws", hailtest.Timeout(time.Hour))
		p.Receive()
		suspended := time.Now()
		p.Vanish()
		out.wait("msg=close")
		if got, most := time.Since(suspended), 36*time.Second; got > most {
			t.Errorf("noticed after %v, want at most %v", got, most)
		}
		shutDown(t, ws)
		out.wants(t, `level=INFO msg=close conn=1 code=1006 reason="" cause="ping timeout"`)
	})
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ws, handler, out := start(settings{greeting: "你好", reply: "收到"})
	p := hailtest.Dial(t, handler, "/ws?token=s3cret")
	for _, step := range []struct{ send, want hail.Message }{
		{want: hail.Text("你好")},
		{send: hail.Text("在吗"), want: hail.Text("收到")},
		{send: hail.Binary([]byte{0, 1, 254, 255}), want: hail.Binary([]byte{0, 1, 254, 255})},
		{send: hail.Text(heartbeat), want: hail.Text(heartbeatAnswer)},
	} {
		if step.send.Data != nil {
			p.Send(step.send)
		}
		if got := p.Receive(); got.Type != step.want.Type || got.String() != step.want.String() {
			t.Errorf("to %v %q: got %v %q, want %v %q", step.send.Type, step.send, got.Type, got, step.want.Type, step.want)
		}
	}
	shutDown(t, ws)
	out.wants(t, "data=在吗", "type=MessageBinary data=0001feff")
	for _, hidden := range []string{"s3cret", "msg=heartbeat", "data=" + heartbeat} {
		if got := out.String(); strings.Contains(got, hidden) {
			t.Errorf("printed:\n%swant no %q in it", got, hidden)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]int{
		"/ws?token=s3cret": http.StatusSwitchingProtocols,
		"/ws?token=wrong":  http.StatusForbidden,
		"/ws":              http.StatusForbidden,
	} {
		ws, handler, out := start(settings{token: "s3cret"})
		if resp := hailtest.Handshake(t, handler, target); resp.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", target, resp.StatusCode, want)
		}
		shutDown(t, ws)
		if got := out.String(); strings.Contains(got, "s3cret") || strings.Contains(got, "wrong") {
			t.Errorf("printed:\n%swant no token in it", got)
		}
	}
}

func TestDrains(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &printed{}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, ln, slog.New(slog.NewTextHandler(out, nil)), plain) }()

	p := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws")
	p.Receive()
	stop()
	if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
		t.Errorf("close: got %v, want %v", got, hail.StatusGoingAway)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: got %v, want nil", err)
	}
	out.wants(t, `level=INFO msg=close conn=1 code=1001 reason="" cause=shutdown`)
}

// printed keeps the lines that several connections print.
type printed struct {
	mu   sync.Mutex
	buf  strings.Builder
	more chan struct{} // closed by the next Write
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.more != nil {
		close(p.more)
		p.more = nil
	}
	return p.buf.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}

// wait waits until text has been printed.
func (p *printed) wait(text string) {
	for {
		p.mu.Lock()
		if strings.Contains(p.buf.String(), text) {
			p.mu.Unlock()
			return
		}
		if p.more == nil {
			p.more = make(chan struct{})
		}
		more := p.more
		p.mu.Unlock()
		<-more
	}
}

func (p *printed) wants(t *testing.T, texts ...string) {
	t.Helper()
	got := p.String()
	for _, want := range texts {
		if !strings.Contains(got, want) {
			t.Errorf("printed:\n%swant %q in it", got, want)
		}
	}
}
