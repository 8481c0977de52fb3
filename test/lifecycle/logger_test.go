package lifecycle_test

// The log: the level of each line, and the data that is never in it.

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestLoggerGetsConnectionsAndMessagesAtDebug(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		logger, log := kit.NewLogbook()
		s := &hail.Server{Options: hail.Options{Logger: logger}}
		p := hailtest.Dial(t, s, "/room?token=SECRET", append(slices.Clone(opts), hailtest.RemoteAddr("127.0.0.9:0"))...)
		p.Receive()
		p.Send(hail.Binary(make([]byte, 321)))
		p.Receive()
		p.Close(4321, "good reason")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		all := log.Lines()
		if debug := log.Level("DEBUG"); len(all) != 3 || len(debug) != 3 {
			t.Fatalf("got %d lines, %d of them at Debug, want 3: %q", len(all), len(debug), all)
		}
		for i, words := range [][]string{
			{"connected", "conn=1", "path=/room", "remote=127.0.0.9:"},
			{"message", "conn=1", "bytes=321", "MessageBinary"},
			{"closed", "conn=1", "peer closed", "code=4321", "good reason"},
		} {
			kit.CheckNames(t, errors.New(all[i]), words...)
			if strings.Contains(all[i], "SECRET") {
				t.Errorf("the query is logged: %s", all[i])
			}
		}
	})
}

func TestLoggerAboveDebugIsQuiet(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	s := &hail.Server{Options: hail.Options{Logger: slog.New(slog.NewTextHandler(&buf, nil))}}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("hi"))
	p.Close(hail.StatusNormalClosure, "")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if buf.Len() > 0 {
		t.Errorf("got %s, want nothing", buf.String())
	}
}

// TestLoggerLevels ends connections in each way, and checks the level at which that is logged.
func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	const query, content, reason = "SECRET-QUERY", "SECRET-CONTENT", "ordinary"
	for name, tc := range map[string]struct {
		act     func(t *testing.T, p *hailtest.Peer, c *hail.Conn)
		isError string // a word of the error; "" for an end that is no error
	}{
		"closed by the peer":    {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusNormalClosure, reason) }, ""},
		"a page that was left":  {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusGoingAway, "") }, ""},
		"closed without a code": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusNoStatusRcvd, "") }, ""},
		"closed with an error":  {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Close(hail.StatusInternalError, reason) }, ""},
		"FIN":                   {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.CloseWrite() }, ""},
		"RST":                   {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Reset() }, ""},
		"FIN in a message": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(kit.Message([]byte(content))[:12])
			p.CloseWrite()
		}, ""},
		"no answer to a ping": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Vanish() }, ""},
		"no answer to the close": {func(_ *testing.T, p *hailtest.Peer, c *hail.Conn) {
			p.Vanish()
			c.Close(hail.StatusNormalClosure, reason)
		}, ""},
		"closed by the server":      {func(_ *testing.T, _ *hailtest.Peer, c *hail.Conn) { c.Close(hail.StatusNormalClosure, reason) }, ""},
		"an error of OnMessage":     {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Send(hail.Text("error " + content)) }, "callback failed"},
		"a panic of OnMessage":      {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Send(hail.Text("panic " + content)) }, "callback panicked"},
		"a panic with a CloseError": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Send(hail.Text("close")) }, "callback panicked"},
		"a message that is longer": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(kit.Message([]byte(strings.Repeat(content, 100))))
		}, "Options.ReadLimit"},
		"text that is not UTF-8": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(content + "\xff")}.Bytes())
		}, "UTF-8"},
		"text in fragments that is not UTF-8": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(slices.Concat(
				hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte(content)}.Bytes(),
				hailtest.Frame{Fin: true, Opcode: hailtest.OpContinuation, Payload: []byte("\xff")}.Bytes()))
		}, "UTF-8"},
		"a frame without a mask": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(content), Unmasked: true}.Bytes())
		}, "unmasked"},
		"a reserved opcode": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.Frame{Fin: true, Opcode: 3, Payload: []byte(content)}.Bytes())
		}, "opcode"},
		"a close frame with a code that is none": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(hailtest.CloseFrame(1005+1, "").Bytes())
		}, "close"},
		"compressed garbage": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(kit.Fragments(true, []byte("\xff\xff"+content)))
		}, "hail: error"},
		"a message that is late": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte(content))[:12]) }, "Options.MessageTimeout"},
		"too many messages": {func(_ *testing.T, p *hailtest.Peer, _ *hail.Conn) {
			p.Write(bytes.Repeat(kit.Message([]byte(content)), 100))
		}, "Options.MessageRate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, withOnError := range []bool{false, true} {
				t.Run(fmt.Sprintf("OnError %v", withOnError), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						logger, log := kit.NewLogbook()
						h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
							switch word, _, _ := strings.Cut(m.String(), " "); word {
							case "error":
								return errors.New("callback failed")
							case "panic":
								panic("callback panicked")
							case "close":
								panic(hail.CloseError{Code: 4000})
							}
							return nil
						}})
						if !withOnError {
							h.OnError = nil
						}
						s := &hail.Server{Handler: h, Options: hail.Options{
							ReadLimit: 1000, MessageRate: 50, Compression: true, Logger: logger,
						}}
						p := hailtest.Dial(t, s, "/?token="+query, hailtest.Compression(), hailtest.Timeout(time.Hour))
						tc.act(t, p, kit.Await(t, "OnConnect", e.Conns, kit.Ample))
						kit.Await(t, "OnClose", e.Closed, time.Hour)
						if err := s.Shutdown(t.Context()); err != nil {
							t.Errorf("Shutdown: %v", err)
						}
						errs := log.Level("ERROR")
						if want := tc.isError != "" && !withOnError; (len(errs) > 0) != want || len(errs) > 1 {
							t.Errorf("got %d errors, want one: %v: %q", len(errs), want, errs)
						} else if want && !strings.Contains(errs[0], tc.isError) {
							t.Errorf("got %s, want %q in it", errs[0], tc.isError)
						}
						if want := tc.isError != "" && withOnError; (len(e.Errs) == 1) != want {
							t.Errorf("OnError was called %d times, want once: %v", len(e.Errs), want)
						}
						if other := slices.Concat(log.Level("WARN"), log.Level("INFO")); len(other) > 0 {
							t.Errorf("got %q, want nothing at Info and Warn", other)
						}
						for _, line := range log.Lines() {
							if strings.Contains(line, query) || strings.Contains(line, content) {
								t.Errorf("what nobody may see is logged: %s", line)
							}
						}
					})
				})
			}
		})
	}
}

func TestLoggerGetsRefusalsAtWarn(t *testing.T) {
	t.Parallel()
	const handshake = "GET /ws?token=SECRET HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, request := range map[string]string{
		"another origin":         handshake + "Origin: http://evil.com\r\n\r\n",
		"not a handshake":        "GET /ws?token=SECRET HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"another method":         strings.Replace(handshake, "GET", "POST", 1) + "Content-Length: 0\r\n\r\n",
		"another version":        strings.Replace(handshake, "13", "12", 1) + "\r\n",
		"a key that is none":     strings.Replace(handshake, "dGhl", "dG", 1) + "\r\n",
		"a body":                 handshake + "Content-Length: 1\r\n\r\nx",
		"HTTP/1.0":               strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n",
		"an absolute target":     strings.Replace(handshake, "/ws", "http://example.com/ws", 1) + "Origin: null\r\n\r\n",
		"a referrer and cookies": handshake + "Origin: null\r\nReferer: http://example.com/?token=SECRET\r\nCookie: token=SECRET\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logger, log := kit.NewLogbook()
			s := &hail.Server{Options: hail.Options{Logger: logger}}
			got := hailtest.Exchange(t, s, request)
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("got %q, want Connection: close in it", got)
			}
			lines := log.Lines()
			if len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "path=/ws") ||
				strings.Contains(lines[0], "SECRET") {
				t.Errorf("got %q, want one line at Warn with the path and without the query", lines)
			}
			if got := s.Stats().Refused; got != 1 {
				t.Errorf("Stats.Refused: got %d, want 1", got)
			}
		})
	}
}

// TestLoggerIsTheDefaultOne is not parallel: it changes slog's default.
func TestLoggerIsTheDefaultOne(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	logger, log := kit.NewLogbook()
	slog.SetDefault(logger)
	s := &hail.Server{}
	p := hailtest.Dial(t, s, "/")
	p.Close(hail.StatusNormalClosure, "")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := len(log.Level("DEBUG")); got != 2 {
		t.Errorf("got %d lines, want 2: %q", got, log.Lines())
	}
}
