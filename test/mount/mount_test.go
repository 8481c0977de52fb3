package mount_test

// Requests that hail refuses, and ResponseWriters that it can and cannot take over: seen from outside, over TCP.
// That it works within the frameworks in use is tested by the module in test/mount/frameworks.

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
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
		header  []string // lines, or names where the value varies
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

// bareWriter hides what it wraps.
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
			// Twice: the first has to give back the only place there is.
			for range 2 {
				m.checkRefusal(t, m.exchange(t, handshake), http.StatusNotImplemented, nil, "cannot upgrade", tt.log)
			}
		})
	}
}

func TestHTTP2IsRefused(t *testing.T) {
	t.Parallel()
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		m := newMounted(t, &hail.Server{}, nil)
		m.http.EnableHTTP2 = true
		m.http.StartTLS()
		m.checkHTTP2(t, m.http.Client())

		// Browsers that want a WebSocket ask the same port for HTTP/1.1, and get it.
		transport := m.http.Client().Transport.(*http.Transport)
		config := transport.TLSClientConfig.Clone()
		config.NextProtos = []string{"http/1.1"}
		m.http.Client().Transport = &http.Transport{TLSClientConfig: config}
		defer m.http.Client().CloseIdleConnections()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, m.http.URL+"/ws?token=hush", nil)
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		resp, err := m.http.Client().Do(req)
		if err != nil {
			t.Fatalf("HTTP/1.1: got %v, want a response", err)
		}
		defer resp.Body.Close()
		got := make([]byte, len(greetingFrame))
		if _, err := io.ReadFull(resp.Body, got); resp.StatusCode != http.StatusSwitchingProtocols || string(got) != greetingFrame {
			t.Errorf("HTTP/1.1: got %s and %q, %v, want 101 and %q", resp.Status, got, err, greetingFrame)
		}
	})
	t.Run("cleartext", func(t *testing.T) {
		t.Parallel()
		m := newMounted(t, &hail.Server{}, nil)
		m.http.Config.Protocols = new(http.Protocols)
		m.http.Config.Protocols.SetUnencryptedHTTP2(true)
		m.http.Start()
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		t.Cleanup(client.CloseIdleConnections)
		m.checkHTTP2(t, client)
	})
	t.Run("extended CONNECT", func(t *testing.T) {
		t.Parallel()
		testExtendedConnect(t)
	})
}

func (m *mounted) checkHTTP2(t *testing.T, client *http.Client) {
	t.Helper()
	resp, err := client.Get(m.http.URL + "/ws?token=hush")
	if err != nil {
		t.Fatalf("GET: got %v, want a response", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body: got %v, want nil", err)
	}
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("got %s %s, want HTTP/2.0 505", resp.Proto, resp.Status)
	}
	if got, want := string(body), "needs HTTP/1.1"; !strings.Contains(got, want) {
		t.Errorf("body: got %q, want a sentence with %q", got, want)
	}
	m.checkLog(t, 505, "HTTP/2.0")
}

// testExtendedConnect sends a handshake of RFC 8441. net/http has the server's side of it, but only in a process
// that was started with a GODEBUG setting; the client's side are the frames below.
func testExtendedConnect(t *testing.T) {
	const setting = "http2xconnect=1"
	if !strings.Contains(os.Getenv("GODEBUG"), setting) {
		self, err := os.Executable()
		if err != nil {
			t.Fatalf("the test's own binary: got %v, want nil", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, self, "-test.run=^TestHTTP2IsRefused$/^extended_CONNECT$", "-test.v", "-test.count=1")
		// A process with the race detector sleeps for a second at its end, unless told not to.
		cmd.Env = append(os.Environ(), "GODEBUG="+setting, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if want := "--- PASS: " + t.Name(); err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("with GODEBUG=%s: got %v and\n%s\nwant nil and %q", setting, err, out, want)
		}
		return
	}
	m := newMounted(t, &hail.Server{}, nil)
	m.http.Config.Protocols = new(http.Protocols)
	m.http.Config.Protocols.SetUnencryptedHTTP2(true)
	m.http.Start()
	conn := m.dial(t)
	writeAll(t, conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+
		frame2(4, 0, 0, "")+ // SETTINGS
		frame2(1, 4, 1, hpack(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/ws?token=hush",
			":authority", "service.example.com", "sec-websocket-version", "13"))) // HEADERS, complete; the stream stays open

	var settings, headers, body string
	for done := false; !done; {
		kind, flags, payload := readFrame2(t, conn)
		switch kind {
		case 4:
			settings += payload
		case 1:
			headers += payload
		case 0:
			body += payload
		case 3, 7:
			t.Fatalf("got frame type %d with % x, want an answer", kind, payload)
		}
		done = kind <= 1 && flags&1 != 0
	}
	if enabled := "\x00\x08\x00\x00\x00\x01"; !strings.Contains(settings, enabled) {
		t.Errorf("settings: got % x, want % x among them", settings, enabled)
	}
	// Three digits are not shorter in Huffman's code, so they stand as they are.
	if !strings.Contains(headers, "\x03505") {
		t.Errorf("headers: got %q, want status 505", headers)
	}
	if want := "needs HTTP/1.1"; !strings.Contains(body, want) {
		t.Errorf("body: got %q, want a sentence with %q", body, want)
	}
	m.checkLog(t, 505, "HTTP/2.0")
}

// frame2 returns a frame of RFC 9113 section 4.1.
func frame2(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return string(b) + payload
}

func readFrame2(t *testing.T, r io.Reader) (kind, flags byte, payload string) {
	t.Helper()
	var h [9]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		t.Fatalf("frame: got %v, want nil", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(h[:])>>8)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("frame: got %v, want nil", err)
	}
	return h[3], h[4], string(b)
}

// hpack returns fields as RFC 7541 section 6.2.2 has them: literal, not indexed, not compressed.
func hpack(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "\x00%c%s%c%s", len(fields[i]), fields[i], len(fields[i+1]), fields[i+1])
	}
	return b.String()
}

// mounted is a Server in a service: an HTTP server with a log.
type mounted struct {
	hail *hail.Server
	http *httptest.Server
	log  *kit.Logbook // hail's and net/http's
}

// newMounted makes a service that is yet to be started. A wrapper may stand between it and server.
func newMounted(t *testing.T, server *hail.Server, wrapper func(http.Handler) http.Handler) *mounted {
	t.Helper()
	m := &mounted{hail: server}
	server.Logger, m.log = kit.NewLogbook()
	var h http.Handler = server
	if wrapper != nil {
		h = wrapper(h)
	}
	m.http = httptest.NewUnstartedServer(h)
	m.http.Config.ErrorLog = log.New(m.log, "net/http: ", 0)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
		m.http.Close()
	})
	return m
}

func serveTCP(t *testing.T, server *hail.Server, wrapper func(http.Handler) http.Handler) *mounted {
	t.Helper()
	m := newMounted(t, server, wrapper)
	m.http.Start()
	return m
}

// dial returns a connection on which everything has to happen within some seconds.
func (m *mounted) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", m.http.Listener.Addr().String())
	if err != nil {
		t.Fatalf("dial: got %v, want nil", err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func writeAll(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write: got %v, want nil", err)
	}
}

// exchange sends bytes, and returns all that comes until the server closes the connection.
func (m *mounted) exchange(t *testing.T, request string) string {
	t.Helper()
	conn := m.dial(t)
	writeAll(t, conn, request)
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("read: got %q, %v, want an answer and the connection's end", got, err)
	}
	return string(got)
}

// upgraded sends a handshake, wants 101 and the greeting, and returns the response's header.
func (m *mounted) upgraded(t *testing.T, request string) http.Header {
	t.Helper()
	conn := m.dial(t)
	writeAll(t, conn, request)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %+v, %v, want 101", resp, err)
	}
	got := make([]byte, len(greetingFrame))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != greetingFrame {
		t.Fatalf("greeting: got %q, %v, want %q", got, err, greetingFrame)
	}
	return resp.Header
}

// open opens a connection that stays until the test's end.
func (m *mounted) open(t *testing.T) {
	t.Helper()
	m.upgraded(t, handshake)
}

// checkRefusal tests an answer of hail, and what it logged.
func (m *mounted) checkRefusal(t *testing.T, answer string, status int, header []string, body string, logged []string) {
	t.Helper()
	head, gotBody, _ := strings.Cut(answer, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	if want := " " + strconv.Itoa(status) + " " + http.StatusText(status); !strings.HasSuffix(lines[0], want) {
		t.Errorf("status line: got %q, want it to end in %q", lines[0], want)
	}
	for _, want := range append([]string{"Connection: close", "Content-Type: text/plain; charset=utf-8"}, header...) {
		if !slices.ContainsFunc(lines[1:], func(l string) bool { return l == want || strings.HasPrefix(l, want+": ") }) {
			t.Errorf("header: got %q, want %q", lines[1:], want)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil {
		t.Fatalf("answer: got %q, which is %v", answer, err)
	}
	if v := resp.Header.Get("Retry-After"); v != "" {
		if seconds, err := strconv.Atoi(v); err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("Retry-After: got %q, want a few seconds", v)
		}
	}
	if got := strconv.FormatInt(resp.ContentLength, 10); got != strconv.Itoa(len(gotBody)) {
		t.Errorf("answer: got %d bytes behind the header, want the one body of %s", len(gotBody), got)
	}
	if sentence := strings.TrimSpace(gotBody); !strings.Contains(sentence, body) || !strings.Contains(sentence, " ") || strings.Contains(sentence, "\n") {
		t.Errorf("body: got %q, want a sentence with %q", gotBody, body)
	}
	for _, internal := range []string{"hush", "Options.", "0x", "goroutine"} {
		if strings.Contains(answer, internal) {
			t.Errorf("answer: got %q, want nothing internal (%q)", answer, internal)
		}
	}
	m.checkLog(t, status, logged...)
}

// checkLog tests what the log says of the last refusal. It is there once the whole answer is.
func (m *mounted) checkLog(t *testing.T, status int, parts ...string) {
	t.Helper()
	line := m.log.Last("handshake refused")
	for _, want := range append(parts, "level=WARN", "path=/ws ", "remote=127.0.0.1:", fmt.Sprintf("status=%d", status)) {
		if !strings.Contains(line, want) {
			t.Errorf("log: got %q, want %q in it", m.log.String(), want)
		}
	}
	m.checkQueryIsSecret(t)
}

func (m *mounted) checkQueryIsSecret(t *testing.T) {
	t.Helper()
	if got := m.log.String(); strings.Contains(got, "hush") || strings.Contains(got, "token") || got == "" {
		t.Errorf("log: got %q, want lines without the query", got)
	}
}
