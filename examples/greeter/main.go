// Greeter greets each connection with `something`, answers each message with `something123`, and prints events. It serves
// a page to try it with at /, and the WebSocket at /ws. The page uses the client of the mini program in examples/wechat.
package main

import (
	"context"
	_ "embed"
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
	"example.com/hail/examples/wechat"
)

//go:embed page.html
var page string

// drainTime is how long connections may still finish after the program was told to stop.
const drainTime = 10 * time.Second

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	greeting := flag.String("greeting", hail.DefaultGreeting, "greeting of a connection")
	reply := flag.String("reply", hail.DefaultReply, "reply to a message")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	slog.SetDefault(log) // for the lines of hail itself, such as the reason of a refusal
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		log.Info("listening", "url", "http://"+ln.Addr().String()+"/")
		err = serve(ctx, ln, newServer(log, *greeting, *reply), log)
	}
	if err != nil {
		log.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// serve serves on ln until ctx ends; then it drains.
func serve(ctx context.Context, ln net.Listener, ws *hail.Server, log *slog.Logger) error {
	srv := &http.Server{Handler: routes(ws), ReadHeaderTimeout: 10 * time.Second}
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

// routes returns the program's handler: the page, its client, and the WebSocket.
func routes(ws http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", ws)
	mux.HandleFunc("GET /{$}", content("text/html", page))
	mux.HandleFunc("GET /socket.js", content("text/javascript", wechat.Socket))
	return mux
}

func content(mediaType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType+"; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		io.WriteString(w, text)
	}
}

// newServer returns a server that behaves as a zero [hail.Server], with the given greeting and reply, and prints events.
func newServer(log *slog.Logger, greeting, replying string) *hail.Server {
	greet := hail.Greet(hail.Text(greeting))
	reply := hail.Reply(hail.Text(replying))
	return &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			log.Info("open", "conn", c.ID(), "path", r.URL.Path) // never the query: it may have a token
			return greet(c, r)
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			log.Info("message", "conn", c.ID(), "type", m.Type, "data", m.String())
			return reply(c, m)
		},
		OnClose: func(c *hail.Conn, info hail.CloseInfo) {
			log.Info("close", "conn", c.ID(), "code", int(info.Code), "reason", info.Reason,
				"cause", info.Cause, "err", info.Err)
		},
		OnError: func(c *hail.Conn, err error) {
			log.Error("error", "conn", c.ID(), "err", err)
		},
	}}
}
