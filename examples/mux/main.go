// Mux mounts two hail servers in one ServeMux, with a middleware in front that identifies the user. Try it with
//
//	ws://localhost:8080/echo/lobby?token=alice-token
//	ws://localhost:8080/greet?token=bob-token
//
// or, as a browser would after a login, with a session cookie in place of the token.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/hail"
)

// drainTime is how long connections may still finish after the program was told to stop.
const drainTime = 10 * time.Second

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s/", ln.Addr())
	if err := serve(ctx, ln); err != nil {
		log.Fatal(err)
	}
}

// serve serves on ln until ctx ends; then it drains.
func serve(ctx context.Context, ln net.Listener) error {
	echo, greet := newEcho(), newGreet()
	srv := &http.Server{Handler: routes(echo, greet), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var drained sync.WaitGroup
	for _, server := range []*hail.Server{echo, greet} {
		drained.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				log.Print(err)
			}
		})
	}
	drained.Wait()
	return srv.Shutdown(ctx)
}

// routes mounts both servers, for users only.
func routes(echo, greet http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /echo/{room}", echo)
	mux.Handle("GET /greet", greet)
	return authenticate(mux)
}

// newEcho returns a server that answers each message with the room, the user's name and the message.
func newEcho() *hail.Server {
	return &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			c.SetState(r.PathValue("room")) // OnMessage may not use the request
			return nil
		},
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			room, user := c.State().(string), userFrom(c.Context())
			return c.Send(hail.Text(fmt.Sprintf("%s/%s: %s", room, user, m)))
		},
	}}
}

// newGreet returns a server that greets each user by name, and answers each message as a zero [hail.Server] does.
func newGreet() *hail.Server {
	return &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			return c.Send(hail.Text("hello " + userFrom(r.Context())))
		},
		OnMessage: hail.Reply(hail.Text(hail.DefaultReply)),
	}}
}

// userKey is the context key of the user's name.
type userKey struct{}

// userFrom returns the name that [authenticate] put in ctx. A connection's context has the values of its request's context.
func userFrom(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}

// authenticate passes on requests with a known token in the query or a known session in a cookie, with the user's name
// in the context. It answers all others with 401.
//
// A browser sends cookies no matter which page opens the WebSocket. hail's check of the Origin refuses pages of other
// sites.
func authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := userOf(r)
		if !ok {
			w.Header().Set("Connection", "close")
			http.Error(w, "give a token in the query or a session in a cookie", http.StatusUnauthorized)
			return
		}
		ctx := context.WithValue(r.Context(), userKey{}, name)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// tokens and sessions stand in for a real store.
var (
	tokens   = map[string]string{"alice-token": "alice", "bob-token": "bob"}
	sessions = map[string]string{"alice-session": "alice", "bob-session": "bob"}
)

// userOf returns the name of the user who makes the request.
func userOf(r *http.Request) (name string, ok bool) {
	if token := r.URL.Query().Get("token"); token != "" {
		name, ok = tokens[token]
	} else if cookie, err := r.Cookie("session"); err == nil {
		name, ok = sessions[cookie.Value]
	}
	return name, ok
}
