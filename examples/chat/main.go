// Chat serves chat rooms, and a page to talk in at /. A WebSocket at /ws?room=NAME joins a room. Its first message is
// the nickname, and each later one is a line for the others in the room. They get "joined NICKNAME", "left NICKNAME",
// and for a line "says NICKNAME", a line break and the line. Nobody gets their own.
package main

import (
	"context"
	_ "embed"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/hail"
)

//go:embed page.html
var page []byte

// drainTime is how long connections may still finish after the program was told to stop.
const drainTime = 10 * time.Second

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		slog.Info("listening", "url", "http://"+ln.Addr().String()+"/")
		err = serve(ctx, ln)
	}
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// newServer returns the chat.
func newServer() *hail.Server {
	return &hail.Server{Handler: hail.Handler{OnConnect: enter, OnMessage: hear, OnClose: leave}}
}

// serve serves on ln until ctx ends; then it drains.
func serve(ctx context.Context, ln net.Listener) error {
	chat := newServer()
	srv := &http.Server{Handler: routes(chat), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	slog.Info("draining", "conns", chat.Len())
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	// Connections first: clients that reconnect meanwhile get 503 with Retry-After.
	if err := chat.Shutdown(ctx); err != nil {
		slog.Warn("drained", "err", err)
	}
	return srv.Shutdown(ctx)
}

// routes returns the program's handler: the page and the WebSocket.
func routes(chat http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", chat)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(page)
	})
	return mux
}
