package mount_test

// A service that has a server mounted, and its answers and its log.

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

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

// checkRefusal checks an answer of hail, and its lines in the log.
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
		t.Errorf("answer: got %d bytes after the header, want the one body of %s", len(gotBody), got)
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

// checkLog checks the log's lines about the last refusal. They are complete when the whole answer is there.
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
