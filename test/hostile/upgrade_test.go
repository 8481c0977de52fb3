package hostile_test

// Pipelined requests: a request that follows a refused handshake is never served.

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

func TestPipelinedRequests(t *testing.T) {
	const (
		heap       = 64 << 10 // net/http's pools, and the refused connection that is not collected yet
		goroutines = 2        // a server has two while it has connections, and one of them is accepted
		most       = 20 * time.Second
	)
	const hidden = "GET /admin HTTP/1.1\r\nHost: example.com\r\n\r\n"
	change := func(from, to string) string { return strings.Replace(kit.Handshake, from, to, 1) }
	for name, first := range map[string]string{
		"no upgrade":          change("Upgrade: websocket\r\n", ""),
		"wrong version":       change("Version: 13", "Version: 12"),
		"wrong key":           change("AAAA", "A"),
		"another origin":      change("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n"),
		"wrong extensions":    change("\r\n\r\n", "\r\nSec-WebSocket-Extensions: ;\r\n\r\n"),
		"with a body":         change("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n12345"),
		"with chunks":         change("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"with a false body":   change("\r\n\r\n", "\r\nContent-Length: 10000\r\n\r\n"),
		"expecting":           change("\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
		"POST":                change("GET", "POST"),
		"too many":            kit.Handshake,                 // MaxConns is 1
		"too many from there": change("GET / ", "GET /few "), // MaxConnsPerIP is 1
		"shutting down":       change("GET / ", "GET /shut "),
		"not to be hijacked":  change("GET / ", "GET /wrapped "),
		"accepted by itself":  change("GET / ", "GET /open "),
	} {
		pipeline := func(t *testing.T, kind string) {
			var served atomic.Int32
			full := &hail.Server{Options: hail.Options{Logger: kit.Quiet, MaxConns: 1}}
			few := &hail.Server{Options: hail.Options{Logger: kit.Quiet, MaxConnsPerIP: 1}}
			open := &hail.Server{Options: hail.Options{Logger: kit.Quiet, CloseTimeout: time.Second / 2}}
			shut := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
			if err := shut.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/", full)
			mux.Handle("/few", few)
			mux.Handle("/open", open)
			mux.Handle("/shut", shut)
			mux.HandleFunc("/wrapped", func(w http.ResponseWriter, r *http.Request) { open.ServeHTTP(struct{ http.ResponseWriter }{w}, r) })
			mux.HandleFunc("/admin", func(http.ResponseWriter, *http.Request) { served.Add(1) })
			addr := listen(t, "tcp", kind, mux, func() { full.Close(); few.Close(); open.Close() })
			for _, path := range []string{"/", "/few"} {
				one := dial(t, kind, addr)
				one.upgrade(func(_ *client, header *string) { *header = strings.Replace(*header, "/", path, 1) })
				defer one.reset()
			}

			bounds{heap, goroutines, most}.hold(t, func(look func(func() bool)) {
				c := dial(t, kind, addr)
				defer c.reset()
				io.WriteString(c.nc, first+hidden+hidden)
				if strings.Contains(first, "10000") {
					c.tcp.(*net.TCPConn).CloseWrite() // or net/http waits for the body, for as long as ReadTimeout
				}
				resp, err := http.ReadResponse(c.br, nil)
				if err != nil {
					t.Fatalf("got %v, want an answer", err)
				}
				accepted := strings.HasPrefix(name, "accepted")
				if accepted != (resp.StatusCode == http.StatusSwitchingProtocols) {
					t.Errorf("got %s, want it accepted: %v", resp.Status, accepted)
				}
				if !accepted && !resp.Close {
					t.Error("the answer has no Connection: close")
				}
				rest, _ := io.ReadAll(c.br) // to the end of the connection
				if strings.Contains(string(rest), "HTTP/1.1") || served.Load() != 0 {
					t.Errorf("the second request was served %d times; after the response came %q", served.Load(), rest)
				}
				look(nil)
			})
		}
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) { pipeline(t, kind) })
		}
	}
}
