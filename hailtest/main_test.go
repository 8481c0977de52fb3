package hailtest_test

// Helpers of the package's tests: the leak check, handlers on the engine alone, and a TB that records.

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"

	"example.com/hail/hailtest"
	"github.com/coder/websocket"
)

func TestMain(m *testing.M) {
	if os.Getenv(leakEnv) != "" {
		go func() { select {} }()
	}
	hailtest.Main(m)
}

// transports are the ways a handler can be dialed.
var transports = map[string][]hailtest.Option{
	"memory":     nil,
	"memory tls": {hailtest.TLS(nil)},
	"tcp":        {hailtest.TCP()},
	"tls":        {hailtest.TCP(), hailtest.TLS(nil)},
	"compressed": {hailtest.Compression()},
}

func overTransports(t *testing.T, test func(t *testing.T, opts ...hailtest.Option)) {
	t.Helper()
	for name, opts := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, opts...)
		})
	}
}

// serve returns a handler that accepts with the engine's context takeover and runs f on the connection.
func serve(f func(r *http.Request, c *websocket.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			CompressionMode:      websocket.CompressionContextTakeover,
			CompressionThreshold: 1,
			Subprotocols:         []string{"v2", "v1"},
		})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		f(r, c)
	})
}

// echo sends every message back until the connection ends.
var echo = serve(func(r *http.Request, c *websocket.Conn) {
	for {
		typ, data, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), typ, data); err != nil {
			return
		}
	}
})

// hijack returns a handler that answers the handshake by hand, with extra header lines, and runs f,
// which may be nil, on the connection.
func hijack(header string, f func(conn net.Conn, br *bufio.Reader)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
			base64.StdEncoding.EncodeToString(sum[:]), header)
		if f != nil {
			f(conn, brw.Reader)
		}
	})
}

// fakeTB is a TB that records failures instead of having them.
type fakeTB struct {
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (*fakeTB) Helper() {}

func (tb *fakeTB) Cleanup(f func()) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.cleanups = append(tb.cleanups, f)
}

func (tb *fakeTB) Errorf(format string, args ...any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.failures = append(tb.failures, fmt.Sprintf(format, args...))
}

func (tb *fakeTB) Fatalf(format string, args ...any) {
	tb.Errorf(format, args...)
	runtime.Goexit()
}

// failures runs test on a goroutine of its own, as the testing package does, with its cleanups, and
// returns its failures.
func failures(test func(tb hailtest.TB)) []string {
	tb := &fakeTB{}
	run := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	run(func() {
		defer func() {
			for len(tb.cleanups) > 0 {
				last := len(tb.cleanups) - 1
				f := tb.cleanups[last]
				tb.cleanups = tb.cleanups[:last]
				f()
			}
		}()
		test(tb)
	})
	return tb.failures
}
