package hostile_test

// Ten thousand clients that are closed at once: they must not all reconnect at once.

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// The race detector supports at most 8,128 goroutines.
const stormConns = 10_000 / (1 + scale/5)

// TestDrainIsSpread checks when each client is sent its close frame.
func TestDrainIsSpread(t *testing.T) {
	for name, tc := range map[string]struct {
		timeout time.Duration // 0: none
		last    time.Duration // when the last close frame is sent
	}{
		"without a deadline":               {0, stormConns * time.Millisecond},
		"with time enough":                 {time.Minute, stormConns * time.Millisecond},
		"with less than a thousandth each": {stormConns * time.Millisecond / 2, stormConns * time.Millisecond / 2 * 3 / 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
				times := make(chan time.Time, stormConns)
				for range stormConns {
					s.ServeHTTP(&stormWriter{conn: newStormConn(times)}, request(t))
				}
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				start := time.Now()
				if err := s.Shutdown(ctx); err != nil {
					t.Fatalf("Shutdown: %v", err)
				}
				close(times)
				const parts = 20
				var got [parts]int
				var last time.Duration
				for at := range times {
					last = max(last, at.Sub(start))
					got[min(parts-1, int(parts*at.Sub(start)/tc.last))]++
				}
				if last < tc.last*19/20 || last > tc.last*21/20 {
					t.Errorf("the last close frame was sent after %v, want about %v", last, tc.last)
				}
				// The server sends some every ten milliseconds, so a part is only as exact as that.
				slack := stormConns/parts/20 + int(stormConns*10*time.Millisecond/tc.last)
				for i, n := range got {
					if want := stormConns / parts; n < want-slack || n > want+slack {
						t.Errorf("part %d of %d of the time: got %d closes, want about %d", i+1, parts, n, want)
					}
				}
			})
		})
	}
}

// TestRefusalsAreSpread checks the Retry-After of refused clients.
func TestRefusalsAreSpread(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options hail.Options
		ends    bool // the server has begun to shut down
		status  int
	}{
		"over MaxConns":      {hail.Options{MaxConns: 1}, false, http.StatusServiceUnavailable},
		"over MaxConnsPerIP": {hail.Options{MaxConnsPerIP: 1}, false, http.StatusTooManyRequests},
		"in a shutdown":      {hail.Options{CloseTimeout: time.Minute}, true, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const refused, seconds = 10_000, 5
			tc.options.Logger = kit.Quiet
			s := &hail.Server{Options: tc.options}
			first := newStormConn(make(chan time.Time, 1))
			s.ServeHTTP(&stormWriter{conn: first}, request(t))
			if tc.ends {
				first.answers = false // so the server drains until Close
				shutdown := make(chan struct{})
				go func() { // ends with Close; waited for below
					defer close(shutdown)
					s.Shutdown(t.Context())
				}()
				<-first.times // the close frame
				defer func() { <-shutdown }()
			}
			got := map[int]int{}
			for range refused {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, request(t))
				after, err := strconv.Atoi(w.Header().Get("Retry-After"))
				if w.Code != tc.status || err != nil || after < 1 || after > seconds {
					t.Fatalf("got status %d and Retry-After %q, want %d and a number from 1 to %d", w.Code, w.Header().Get("Retry-After"), tc.status, seconds)
				}
				got[after]++
			}
			for after := 1; after <= seconds; after++ {
				if n, want := got[after], refused/seconds; n < want*8/10 || n > want*12/10 {
					t.Errorf("%d of %d are told to come back after %d s, want about %d", n, refused, after, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// stormWriter is a ResponseWriter that can be hijacked.
type stormWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (w *stormWriter) Header() http.Header { return http.Header{} }

func (w *stormWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.conn, nil, nil }

// stormConn is the connection of a client that answers the close frame, without a goroutine of its own.
type stormConn struct {
	net.Conn
	times   chan time.Time
	answers bool
	answer  chan []byte // the client's close frame
	closed  chan struct{}
	once    sync.Once
}

func newStormConn(times chan time.Time) *stormConn {
	return &stormConn{times: times, answers: true, answer: make(chan []byte, 1), closed: make(chan struct{})}
}

func (c *stormConn) Read(p []byte) (int, error) {
	select {
	case b := <-c.answer:
		return copy(p, b), nil
	case <-c.closed:
		return 0, io.EOF
	}
}

func (c *stormConn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == 0x80|byte(hailtest.OpClose) {
		c.times <- time.Now()
		if c.answers {
			c.answer <- hailtest.CloseFrame(hail.StatusGoingAway, "").Bytes()
		}
	}
	return len(p), nil
}

func (c *stormConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *stormConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *stormConn) SetDeadline(time.Time) error      { return nil }
func (c *stormConn) SetWriteDeadline(time.Time) error { return nil }
