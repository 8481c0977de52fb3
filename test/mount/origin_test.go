package mount_test

// Which pages may connect: Options.Origins and the request's own host.

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// admits reports whether the server lets a request with these Origin headers in.
func admits(t *testing.T, s *hail.Server, host string, origins ...string) bool {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/ws?token=SECRET", nil)
	r.Host = host
	r.Header = http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	if origins != nil {
		r.Header["Origin"] = origins
	}
	// A recorder cannot be hijacked, so an admitted request ends with this status.
	const letIn = http.StatusNotImplemented
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != letIn && w.Code != http.StatusForbidden && (host != "" || w.Code != http.StatusBadRequest) {
		t.Fatalf("Origin %q, Host %q: got status %d, want %d or %d", origins, host, w.Code, letIn, http.StatusForbidden)
	}
	return w.Code == letIn
}

func TestOriginOfTheSameHostIsAllowed(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
	for _, tc := range []struct{ host, origin string }{
		{"example.com", "http://example.com"},
		{"example.com", "https://example.com"},
		{"example.com:8080", "http://example.com:8080"},
		{"example.com:8080", "https://example.com:8080"},
		{"localhost:3000", "http://localhost:3000"},
		{"my_service", "http://my_service"},
		{"xn--bcher-kva.example", "https://xn--bcher-kva.example"},

		// A scheme's own port may be there or not, on both sides.
		{"example.com:80", "http://example.com"},
		{"example.com:443", "https://example.com"},
		{"example.com", "http://example.com:80"},
		{"example.com", "https://example.com:443"},
		{"example.com:443", "https://example.com:443"},

		// Letters' case says nothing.
		{"EXAMPLE.com", "http://example.COM"},
		{"example.com", "HTTPS://Example.Com"},

		// Addresses.
		{"127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"[::1]", "http://[::1]"},
		{"[::1]:80", "http://[::1]"},
		{"[::1]:8080", "https://[::1]:8080"},
		{"[2001:DB8::1]", "https://[2001:db8::1]"},

		// Who opens https://example.com./ gets a page of that very host.
		{"example.com.", "https://example.com."},
	} {
		if !admits(t, s, tc.host, tc.origin) {
			t.Errorf("Origin %q, Host %q: got 403, want it let in", tc.origin, tc.host)
		}
	}
	if !admits(t, s, "example.com") {
		t.Error("no Origin: got 403, want it let in: it is no browser's page")
	}
}

func TestOriginOfAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	servers := map[string]*hail.Server{
		"no patterns":    {Options: hail.Options{Logger: kit.Quiet}},
		"other patterns": {Options: hail.Options{Logger: kit.Quiet, Origins: []string{"https://app.example", "*.app.example", "weapp://*"}}},
	}
	for _, origin := range []string{
		// Foreign origins, and origins that begin or end as the host does.
		"http://evil.com",
		"http://example.com.evil.com",
		"http://evilexample.com",
		"http://evil-example.com",
		"http://sub.example.com",
		"http://example.co",
		"http://example.comm",
		"http://example",
		"http://com",
		"http://.example.com",
		"http://example.com.",
		"http://example..com",

		// Ports.
		"http://example.com:8080",
		"http://example.com:443",
		"https://example.com:80",
		"http://example.com:080",
		"http://example.com:",
		"http://example.com:80:80",
		"http://example.com:http",
		"http://example.com:-80",
		"http://example.com:+80",
		"http://example.com: 80",
		"http://example.com:80 ",

		// User information.
		"http://user@example.com",
		"http://user:password@example.com",
		"http://example.com@evil.com",
		"http://evil.com@example.com",
		"http://evil.com:80@example.com",
		"http://@example.com",

		// An origin has no path, query or fragment.
		"http://example.com/",
		"http://example.com/path",
		"http://example.com?query",
		"http://example.com#fragment",
		"http://evil.com/example.com",
		"http://evil.com/http://example.com",
		"http://evil.com?http://example.com",
		"http://evil.com#example.com",
		`http://example.com\`,
		`http://evil.com\example.com`,
		`http://evil.com\@example.com`,
		`http:\\example.com`,

		// Encodings and lookalikes.
		"http://example%2ecom",
		"http://%65xample.com",
		"http://example.com%00",
		"http://example.com%00.evil.com",
		"http://example.com%2F.evil.com",
		"http://exämple.com",
		"http://ｅxample.com",
		"http://example。com",
		"http://example\u00ad.com",
		"http://\u202eexample.com",
		"http://example.com\x00",
		"http://example.com\xff",

		// Opaque origins, and schemes that are not the web's.
		"null",
		"NULL",
		"file://",
		"file:///",
		"file://example.com",
		"about:blank",
		"data:,x",
		"blob:http://example.com/0",
		"ftp://example.com:80",
		"weapps://example.com",
		"https+x://example.com",

		// Garbage.
		"",
		" ",
		"example.com",
		"//example.com",
		"http:example.com",
		"http:/example.com",
		"http:///example.com",
		"://example.com",
		" http://example.com",
		"ht tp://example.com",
		"http ://example.com",
		"http:// example.com",
		"http://",
		"http://:80",
		"http",
		"http://example.com,http://example.com",
		"http://example.com http://example.com",
		"http://evil.com, http://example.com",
		"http://http://example.com",
		"http://[example.com]",
		"http://[::1",
		"http://::1]",
		"http://[]",
		"http://[::1]example.com",
		"http://[::1]:",

		// Only patterns have asterisks.
		"*",
		"http://*",
		"http://*.com",
		"http://exam*le.com",
		"http://example.com:*",
		"*://example.com",
		"weapp://*",
	} {
		for name, s := range servers {
			if admits(t, s, "example.com", origin) {
				t.Errorf("%s: Origin %q, Host example.com: was let in, want 403", name, origin)
			}
		}
	}
}

func TestOriginOfAnotherAddressIsRefused(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
	for _, tc := range []struct{ host, origin string }{
		{"127.0.0.1", "http://2130706433"},
		{"127.0.0.1", "http://127.1"},
		{"127.0.0.1", "http://0x7f.0.0.1"},
		{"127.0.0.1", "http://[::ffff:127.0.0.1]"},
		{"127.0.0.1", "http://localhost"},
		{"[::1]", "http://[::2]"},
		{"[::1]:80", "http://[::1]:8080"},
		{"[::1]", "http://::1"},
		{"[fe80::1]", "http://[fe80::1%25eth0]"},
		{"", "http://"},
		{"", "http://evil.com"},
		{"*", "http://evil.com"},
		{"*.com", "http://evil.com"},
		{"evil.com/", "http://evil.com"},
		{"user@evil.com", "http://evil.com"},
		{"good.com,evil.com", "http://evil.com"},
		{"evil.com:", "http://evil.com"},
	} {
		if admits(t, s, tc.host, tc.origin) {
			t.Errorf("Origin %q, Host %q: was let in, want 403", tc.origin, tc.host)
		}
	}
}

func TestOriginWithLettersThatFoldIntoASCII(t *testing.T) {
	t.Parallel()
	plain := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
	pattern := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{"kiosk.example", "*.digits.example"}}}
	for _, tc := range []struct {
		s            *hail.Server
		host, origin string
	}{
		{plain, "kiosk.example", "https://\u212Aiosk.example"}, // KELVIN SIGN
		{plain, "i.example", "https://\u0130.example"},         // LATIN CAPITAL LETTER I WITH DOT ABOVE
		{pattern, "example.com", "https://\u212Aiosk.example"},
		{pattern, "example.com", "1https://a.digits.example"},
		{pattern, "example.com", "+://a.digits.example"},
	} {
		if admits(t, tc.s, tc.host, tc.origin) {
			t.Errorf("Origin %q, Host %q: was let in, want 403", tc.origin, tc.host)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a pattern with KELVIN SIGN: got no panic, want one")
		}
	}()
	admits(t, &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{"\u212Aiosk.example"}}}, "example.com", "https://kiosk.example")
}

func TestSeveralOriginsAreRefused(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{"null", "https://app.example"}}}
	for _, origins := range [][]string{
		{},
		{"http://example.com", "http://example.com"},
		{"http://example.com", "http://evil.com"},
		{"http://evil.com", "http://example.com"},
		{"https://app.example", "https://app.example"},
		{"null", "null"},
		{"", "http://example.com"},
	} {
		if admits(t, s, "example.com", origins...) {
			t.Errorf("Origins %q: were let in, want 403", origins)
		}
	}
}

func TestOriginOverTheWire(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{"https://app.example"}}}
		for origin, want := range map[string]int{
			"http://example.com":  http.StatusSwitchingProtocols, // the kit's Host
			"https://app.example": http.StatusSwitchingProtocols,
			"https://evil.com":    http.StatusForbidden,
			"null":                http.StatusForbidden,
		} {
			got := hailtest.Handshake(t, s, "/ws", append(slices.Clone(opts), hailtest.Origin(origin))...)
			if got.StatusCode != want {
				t.Errorf("Origin %q: got %s, want %d", origin, got.Status, want)
			}
			if refused := want == http.StatusForbidden; refused && got.Header.Get("Connection") != "close" {
				t.Errorf("Origin %q: got Connection %q, want close", origin, got.Header.Get("Connection"))
			}
		}
		if got, want := s.Stats().Refused, uint64(2); got != want {
			t.Errorf("Stats.Refused: got %d, want %d", got, want)
		}
	})
	for name, lines := range map[string]string{
		"empty":       "Origin:\r\n",
		"blank":       "Origin:   \r\n",
		"twice":       "Origin: http://example.com\r\nOrigin: http://example.com\r\n",
		"twice mixed": "origin: http://example.com\r\nORIGIN: http://evil.com\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
			got := hailtest.Exchange(t, s, "GET /ws HTTP/1.1\r\nHost: example.com\r\n"+lines+
				"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 403 ") {
				t.Errorf("got %q, want 403", got)
			}
		})
	}
}

func TestRefusedOriginIsExplainedInTheLog(t *testing.T) {
	t.Parallel()
	logger, log := kit.NewLogbook()
	s := &hail.Server{Options: hail.Options{Logger: logger}}
	if admits(t, s, "example.com", "https://evil.com") {
		t.Fatal("was let in, want 403")
	}
	lines := log.Lines()
	if len(lines) != 1 {
		t.Fatalf("got %d lines, want 1: %q", len(lines), lines)
	}
	for _, want := range []string{"level=WARN", "https://evil.com", "example.com", "Options.Origins", "status=403", "path=/ws"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the log line lacks %q: %s", want, lines[0])
		}
	}
	if strings.Contains(lines[0], "SECRET") {
		t.Errorf("the log line has the query: %s", lines[0])
	}
	t.Run("and cannot be flooded or forged", func(t *testing.T) {
		admits(t, s, strings.Repeat("h", 10_000), strings.Repeat("o", 10_000)+"\nlevel=ERROR forged")
		lines := log.Lines()[1:]
		if len(lines) != 1 || len(lines[0]) > 2000 {
			t.Errorf("got %d lines, the first of %d bytes, want 1 that is short", len(lines), len(lines[0]))
		}
	})
}
