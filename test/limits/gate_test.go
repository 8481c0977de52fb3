package limits_test

// Requests that are admitted and refused after middleware has changed the request or the ResponseWriter.

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestMaxConnsPerIPBehindRealIP(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		first, second string
		same          bool
	}{
		"same /64":                  {"[2001:db8::1]:1", "[2001:db8::2]:2", true},
		"same /64 without ports":    {"2001:db8::1", "2001:db8::2", true},
		"brackets without ports":    {"[2001:db8::1]", "[2001:db8::2]", true},
		"with and without a port":   {"2001:db8::1", "[2001:db8::1]:44", true},
		"mapped IPv4":               {"::ffff:192.0.2.1", "192.0.2.1:40", true},
		"other /64":                 {"2001:db8::1", "2001:db8:0:1::1", false},
		"IPv4 neighbours":           {"192.0.2.1", "192.0.2.2", false},
		"zones of one link address": {"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		"no addresses":              {"@", "unix", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: hail.Options{MaxConnsPerIP: 1, Logger: kit.Quiet}}
			realIP := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = r.Header.Get("X-Real-Ip")
				s.ServeHTTP(w, r)
			})
			hailtest.Dial(t, realIP, "/", hailtest.Header("X-Real-Ip", tc.first))
			want := http.StatusSwitchingProtocols
			if tc.same {
				want = http.StatusTooManyRequests
			}
			got := hailtest.Handshake(t, realIP, "/", hailtest.Header("X-Real-Ip", tc.second))
			if got.StatusCode != want {
				t.Errorf("%s after %s: got %s, want %d", tc.second, tc.first, got.Status, want)
			}
		})
	}
}

// panicky is a ResponseWriter whose Hijack panics, as that of a wrapper does that does not check its ResponseWriter.
type panicky struct{ http.ResponseWriter }

func (panicky) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("not a Hijacker") }

func TestPanicInHijackTakesNoPlace(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &hail.Server{Options: hail.Options{MaxConns: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(panicky{w}, r) })
	for range 2 {
		if got := hailtest.Handshake(t, h, "/"); got.StatusCode != http.StatusNotImplemented {
			t.Errorf("got %s, want 501", got.Status)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if !strings.Contains(log.String(), "panicky") {
		t.Errorf("the log does not name the writer:\n%s", &log)
	}
}

func TestHeadersInFrontDoNotChangeTheHandshake(t *testing.T) {
	t.Parallel()
	s := &hail.Server{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=1")
		w.Header()["sec-websocket-accept"] = []string{"wrong"}
		w.Header()["Sec-WebSocket-Protocol"] = []string{"never offered"}
		w.Header().Set("Content-Type", "text/plain")
		s.ServeHTTP(w, r)
	})
	got := hailtest.Dial(t, h, "/").Response.Header
	if got.Get("Set-Cookie") != "session=1" {
		t.Errorf("Set-Cookie is missing: %v", got)
	}
	if len(got["Sec-Websocket-Accept"]) != 1 || got["Sec-Websocket-Protocol"] != nil || got["Content-Type"] != nil {
		t.Errorf("got %v", got)
	}
}
