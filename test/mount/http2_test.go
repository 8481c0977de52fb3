package mount_test

// HTTP/2, which carries no upgrade.

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/hail"
)

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

// testExtendedConnect sends a handshake of RFC 8441. net/http implements the server's side, but only in a process
// that was started with a GODEBUG setting. The frames below are the client's side.
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

// hpack encodes fields as RFC 7541 section 6.2.2 does: literal, not indexed, not compressed.
func hpack(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "\x00%c%s%c%s", len(fields[i]), fields[i], len(fields[i+1]), fields[i+1])
	}
	return b.String()
}
