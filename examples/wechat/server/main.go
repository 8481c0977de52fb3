// Server is the server of the mini program in examples/wechat: the greeter, with the settings that WeChat's clients need.
// docs/wechat.md says why.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/hail"
)

// drainTime is how long connections may still finish after the program was told to stop.
const drainTime = 10 * time.Second

// subprotocol is the one that the mini program offers in app.js.
const subprotocol = "greeter"

// The messages of a mini program's heartbeat. It cannot send a ping.
const heartbeat, heartbeatAnswer = "ping", "pong"

type settings struct {
	greeting, reply string
	token           string // "": none is required
}

func main() {
	var set settings
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.StringVar(&set.greeting, "greeting", hail.DefaultGreeting, "greeting of a connection")
	flag.StringVar(&set.reply, "reply", hail.DefaultReply, "reply to a text message")
	flag.StringVar(&set.token, "token", "", "refuse requests without ?token= and this token with 403")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	slog.SetDefault(log) // for the lines of hail itself, such as the reason of a refusal
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		log.Info("listening", "url", "http://"+ln.Addr().String()+"/")
		err = serve(ctx, ln, log, set)
	}
	if err != nil {
		log.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// serve serves on ln until ctx ends; then it drains.
func serve(ctx context.Context, ln net.Listener, log *slog.Logger, set settings) error {
	ws := newServer(log, set)
	srv := &http.Server{Handler: routes(ws, log, set), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	log.Info("draining", "conns", ws.Len())
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	// Connections first: clients that reconnect meanwhile get 503 with Retry-After.
	if err := ws.Shutdown(ctx); err != nil {
		log.Warn("drained", "err", err)
	}
	return srv.Shutdown(ctx)
}

// routes returns the program's handler: the WebSocket, and a line of text for browsers.
func routes(ws http.Handler, log *slog.Logger, set settings) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", authorize(ws, log, set.token))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>hail</title><p>The mini program in examples/wechat connects to /ws.\n")
	})
	return mux
}

// authorize refuses requests without the token, before the upgrade. A mini program gets its token by wx.login from its server.
func authorize(next http.Handler, log *slog.Logger, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token != "" && subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("token")), []byte(token)) != 1 {
			log.Warn("refused", "path", r.URL.Path, "status", http.StatusForbidden)
			w.Header().Set("Connection", "close")
			http.Error(w, "the token is missing or wrong", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// newServer returns a server that greets, answers text with the reply and bytes with the same bytes, and prints events.
func newServer(log *slog.Logger, set settings) *hail.Server {
	greet := hail.Greet(hail.Text(set.greeting))
	reply := hail.Reply(hail.Text(set.reply))
	return &hail.Server{
		Options: hail.Options{
			// Requests without Origin are accepted anyway: they do not come from a web page. Mini games have an
			// Origin of this scheme, which no web page has.
			Origins:      []string{"weapp://*"},
			Subprotocols: []string{subprotocol},
		},
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, r *http.Request) error {
				app := parseReferer(r.Referer())
				log.Info("open", "conn", c.ID(), "path", r.URL.Path, // never the query: it may have a token
					"subprotocol", c.Subprotocol(), "app", app.id, "version", app.version)
				return greet(c, r)
			},
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				switch {
				case m.Type == hail.MessageBinary:
					log.Info("message", "conn", c.ID(), "type", m.Type, "data", hex.EncodeToString(m.Data))
					return hail.Echo(c, m)
				case m.String() == heartbeat:
					log.Debug("heartbeat", "conn", c.ID())
					return c.Send(hail.Text(heartbeatAnswer))
				}
				log.Info("message", "conn", c.ID(), "type", m.Type, "data", m.String())
				return reply(c, m)
			},
			OnClose: func(c *hail.Conn, info hail.CloseInfo) {
				level := slog.LevelWarn
				if isDeparture(info.Code) {
					level = slog.LevelInfo
				}
				log.Log(context.Background(), level, "close", "conn", c.ID(), "code", int(info.Code), "reason", info.Reason,
					"cause", info.Cause, "err", info.Err)
			},
			OnError: func(c *hail.Conn, err error) {
				log.Error("error", "conn", c.ID(), "err", err)
			},
		},
	}
}

// isDeparture reports whether the code is one with which phones usually leave: closed by the program, going away, a
// close frame without a code, or a network or a mini program that is gone.
func isDeparture(code hail.StatusCode) bool {
	switch code {
	case hail.StatusNormalClosure, hail.StatusGoingAway, hail.StatusNoStatusRcvd, hail.StatusAbnormalClosure:
		return true
	}
	return false
}
