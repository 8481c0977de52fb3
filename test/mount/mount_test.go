package mount_test

// Requests that hail refuses, and ResponseWriters that it can and cannot hijack, seen from outside over TCP.
// The module in test/mount/frameworks tests hail within frameworks.

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/hail"
)

// A handshake, in parts. The token in its query may not come out anywhere.
const (
	getLine   = "GET /ws?token=hush HTTP/1.1\r\n"
	hostLine  = "Host: service.example.com\r\n"
	upgrade   = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	version13 = "Sec-WebSocket-Version: 13\r\n"
	keyLine   = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

	handshake = getLine + hostLine + upgrade + version13 + keyLine + "\r\n"

	greetingFrame = "\x81\x09something"
)

func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	retry := []string{"Retry-After"}
	upgradeTo := []string{"Upgrade: websocket"}
	tests := []struct {
		name    string
		options hail.Options
		before  func(*testing.T, *mounted)
		request string
		status  int
		header  []string // lines, or only a name if the value varies
		body    string   // is in the sentence for the client
		log     []string // are in the line for the operator
	}{
		{
			name:    "key of 15 bytes",
			request: getLine + hostLine + upgrade + version13 + "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA\r\n\r\n",
			status:  400, body: "Sec-WebSocket-Key",
		}, {
			name:    "key not in base64",
			request: getLine + hostLine + upgrade + version13 + "Sec-WebSocket-Key: the sample nonce\r\n\r\n",
			status:  400, body: "Sec-WebSocket-Key",
		}, {
			name:    "no key",
			request: getLine + hostLine + upgrade + version13 + "\r\n",
			status:  400, body: "Sec-WebSocket-Key",
		}, {
			name:    "two keys",
			request: getLine + hostLine + upgrade + version13 + keyLine + keyLine + "\r\n",
			status:  400, body: "Sec-WebSocket-Key",
		}, {
			name:    "body",
			request: getLine + hostLine + upgrade + version13 + keyLine + "Content-Length: 4\r\n\r\nbody",
			status:  400, body: "body",
		}, {
			name:    "chunked body",
			request: getLine + hostLine + upgrade + version13 + keyLine + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			status:  400, body: "body",
		}, {
			name:    "origin",
			request: getLine + hostLine + upgrade + version13 + keyLine + "Origin: https://evil.example.net\r\n\r\n",
			status:  403, body: "origin", log: []string{"https://evil.example.net", "service.example.com", "Options.Origins"},
		}, {
			name:    "two origins",
			request: getLine + hostLine + upgrade + version13 + keyLine + strings.Repeat("Origin: http://service.example.com\r\n", 2) + "\r\n",
			status:  403, body: "origin", log: []string{"Options.Origins"},
		}, {
			name:    "POST",
			request: "POST /ws?token=hush HTTP/1.1\r\n" + hostLine + upgrade + version13 + keyLine + "Content-Length: 2\r\n\r\nhi",
			status:  405, header: []string{"Allow: GET"}, body: "GET",
		}, {
			name:    "no upgrade headers",
			request: getLine + hostLine + "\r\n",
			status:  426, header: upgradeTo, body: "WebSocket client", log: []string{"proxy"},
		}, {
			name:    "upgrade headers that a proxy has dropped",
			request: getLine + hostLine + "Connection: keep-alive\r\n" + version13 + keyLine + "\r\n",
			status:  426, header: upgradeTo, body: "WebSocket client", log: []string{"proxy"},
		}, {
			name:    "upgrade to something else",
			request: getLine + hostLine + "Connection: Upgrade\r\nUpgrade: h2c\r\n" + version13 + keyLine + "\r\n",
			status:  426, header: upgradeTo, body: "WebSocket client",
		}, {
			name:    "version 8",
			request: getLine + hostLine + upgrade + "Sec-WebSocket-Version: 8\r\n" + keyLine + "\r\n",
			status:  426, header: []string{"Upgrade: websocket", "Sec-Websocket-Version: 13"}, body: "version 13",
		}, {
			name:    "no version",
			request: getLine + hostLine + upgrade + keyLine + "\r\n",
			status:  426, header: []string{"Upgrade: websocket", "Sec-Websocket-Version: 13"}, body: "version 13",
		}, {
			name:    "MaxConnsPerIP",
			options: hail.Options{MaxConnsPerIP: 1},
			before:  func(t *testing.T, m *mounted) { m.open(t) },
			request: handshake,
			status:  429, header: retry, body: "your address", log: []string{"127.0.0.1", "Options.MaxConnsPerIP"},
		}, {
			name:    "MaxConns",
			options: hail.Options{MaxConns: 1},
			before:  func(t *testing.T, m *mounted) { m.open(t) },
			request: handshake,
			status:  503, header: retry, body: "too many connections", log: []string{"Options.MaxConns"},
		}, {
			name: "after Shutdown",
			before: func(t *testing.T, m *mounted) {
				if err := m.hail.Shutdown(t.Context()); err != nil {
					t.Fatalf("Shutdown: got %v, want nil", err)
				}
			},
			request: handshake,
			status:  503, header: retry, body: "shutting down",
		}, {
			name:    "HTTP/1.0",
			request: strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1),
			status:  505, body: "HTTP/1.1", log: []string{"HTTP/1.0"},
		}, {
			name:    "frames behind the handshake",
			request: getLine + hostLine + upgrade + "Sec-WebSocket-Version: 8\r\n" + keyLine + "\r\n" + handshake,
			status:  426, body: "version 13", // and no answer to the second
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := serveTCP(t, &hail.Server{Options: tt.options}, nil)
			if tt.before != nil {
				tt.before(t, m)
			}
			m.checkRefusal(t, m.exchange(t, tt.request), tt.status, tt.header, tt.body, tt.log)
		})
	}
}

func TestAcceptedHandshakes(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"plain":                 handshake,
		"as Firefox sends it":   strings.Replace(handshake, "Connection: Upgrade", "Connection: keep-alive, Upgrade", 1),
		"in other case":         strings.Replace(handshake, upgrade, "connection: UPGRADE\r\nupgrade: WebSocket\r\n", 1),
		"Connection twice":      strings.Replace(handshake, upgrade, "Connection: keep-alive\r\n"+upgrade, 1),
		"Content-Length: 0":     strings.Replace(handshake, upgrade, upgrade+"Content-Length: 0\r\n", 1),
		"origin of the host":    strings.Replace(handshake, upgrade, upgrade+"Origin: http://service.example.com\r\n", 1),
		"whole URI as target":   strings.Replace(handshake, "GET /ws", "GET http://service.example.com/ws", 1),
		"Accept-Encoding: gzip": strings.Replace(handshake, upgrade, upgrade+"Accept-Encoding: gzip\r\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := serveTCP(t, &hail.Server{}, nil)
			got := m.upgraded(t, request)
			// The answer to this key is the example of RFC 6455 section 1.3.
			if accept, want := got.Get("Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; accept != want {
				t.Errorf("Sec-WebSocket-Accept: got %q, want %q", accept, want)
			}
			m.checkQueryIsSecret(t)
		})
	}
}

// bareWriter hides the methods of the ResponseWriter that it wraps.
type bareWriter struct{ http.ResponseWriter }

// unwrapWriter can be looked through.
type unwrapWriter struct{ http.ResponseWriter }

func (w unwrapWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// busyWriter has a Hijack that fails.
type busyWriter struct{ http.ResponseWriter }

func (busyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("the connection is in use")
}

func TestResponseWriters(t *testing.T) {
	t.Parallel()
	wrap := func(wrapper func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrapper(w), r) })
		}
	}
	bare := wrap(func(w http.ResponseWriter) http.ResponseWriter { return bareWriter{w} })
	unwrap := wrap(func(w http.ResponseWriter) http.ResponseWriter { return unwrapWriter{w} })
	busy := wrap(func(w http.ResponseWriter) http.ResponseWriter { return busyWriter{w} })
	timeout := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "too late") }

	for _, tt := range []struct {
		name    string
		wrapper func(http.Handler) http.Handler
		log     []string // of a refusal
	}{
		{"with Unwrap", unwrap, nil},
		{"with Unwrap twice", func(h http.Handler) http.Handler { return unwrap(unwrap(h)) }, nil},
		{"without Hijack and Unwrap", bare, []string{"mount_test.bareWriter", "http.Hijacker", "Unwrap"}},
		{"without, behind one with Unwrap", func(h http.Handler) http.Handler { return bare(unwrap(h)) },
			[]string{"mount_test.bareWriter"}},
		{"without, in front of one with Unwrap", func(h http.Handler) http.Handler { return unwrap(bare(h)) },
			[]string{"mount_test.bareWriter"}},
		{"failing Hijack", busy, []string{"mount_test.busyWriter", "the connection is in use"}},
		{"http.TimeoutHandler", timeout, []string{"http.TimeoutHandler"}},
		{"http.TimeoutHandler, behind one with Unwrap", func(h http.Handler) http.Handler { return timeout(unwrap(h)) },
			[]string{"http.TimeoutHandler"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := serveTCP(t, &hail.Server{Options: hail.Options{MaxConns: 1}}, tt.wrapper)
			if tt.log == nil {
				m.upgraded(t, handshake)
				m.checkQueryIsSecret(t)
				return
			}
			// Twice: the first request has to give back the only slot.
			for range 2 {
				m.checkRefusal(t, m.exchange(t, handshake), http.StatusNotImplemented, nil, "cannot upgrade", tt.log)
			}
		})
	}
}
