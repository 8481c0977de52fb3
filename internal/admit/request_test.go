package admit_test

// Requests that are refused, each for one fault.

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/hail/internal/admit"
)

// handshake returns a request that may become a connection.
func handshake() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws?token=SECRET", nil)
	r.Header = http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return r
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*http.Request){
		"the sample":               func(*http.Request) {},
		"over TLS":                 func(r *http.Request) { r.TLS = new(tls.ConnectionState) },
		"HTTP/1.2":                 func(r *http.Request) { r.ProtoMinor = 2 },
		"a whole URI":              func(r *http.Request) { r.RequestURI = "http://example.com/ws" },
		"no target":                func(r *http.Request) { r.RequestURI = "" },
		"tokens in other cases":    func(r *http.Request) { r.Header["Upgrade"] = []string{"WebSocket"} },
		"tokens in a list":         func(r *http.Request) { r.Header["Connection"] = []string{"keep-alive, \tUPGRADE", "x"} },
		"subprotocols":             func(r *http.Request) { r.Header["Sec-Websocket-Protocol"] = []string{"v1, v2", "v3"} },
		"an extension":             func(r *http.Request) { r.Header["Sec-Websocket-Extensions"] = []string{"x; y=1; z=\"2\""} },
		"a key of other last bits": func(r *http.Request) { r.Header["Sec-Websocket-Key"] = []string{"dGhlIHNhbXBsZSBub25jZR=="} },
	} {
		r := handshake()
		change(r)
		if got := newRules(t, nil, nil).Check(r); got != nil {
			t.Errorf("%s: got %+v, want it accepted", name, *got)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	const key, version = "Sec-Websocket-Key", "Sec-Websocket-Version"
	for _, tc := range []struct {
		name   string
		change func(*http.Request)
		status int
		text   string // a part of the refusal's text
	}{
		{"HTTP/2", func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 }, 505, "HTTP/2.0"},
		{"HTTP/1.0", func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }, 505, "HTTP/1.0"},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 405, "GET"},
		{"target *", func(r *http.Request) { r.RequestURI = "*" }, 400, "path"},
		{"target of a proxy", func(r *http.Request) { r.RequestURI = "example.com:80" }, 400, "path"},
		{"target of another scheme", func(r *http.Request) { r.RequestURI = "ftp://example.com/" }, 400, "path"},
		{"target without a host", func(r *http.Request) { r.RequestURI = "http:///ws" }, 400, "path"},
		{"no Connection", set("Connection"), 426, "WebSocket client"},
		{"Connection of another token", set("Connection", "keep-alive, xupgrade"), 426, "WebSocket client"},
		{"no Upgrade", set("Upgrade"), 426, "WebSocket client"},
		{"Upgrade with the long s", set("Upgrade", "web\u017focket"), 426, "WebSocket client"},
		{"no version", set(version), 426, "version 13"},
		{"version 8", set(version, "8"), 426, "version 13"},
		{"version 013", set(version, "013"), 426, "version 13"},
		{"two versions", set(version, "13", "13"), 426, "version 13"},
		{"no Host", func(r *http.Request) { r.Host = "" }, 400, "Host"},
		{"no key", set(key), 400, "Key"},
		{"an empty key", set(key, ""), 400, "Key"},
		{"two keys", set(key, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "Key"},
		{"a key of 15 bytes", set(key, "dGhlIHNhbXBsZSBub25j"), 400, "Key"},
		{"a key of 17 bytes", set(key, "dGhlIHNhbXBsZSBub25jZWU="), 400, "Key"},
		{"a key without padding", set(key, "dGhlIHNhbXBsZSBub25jZQ"), 400, "Key"},
		{"a key in base64url", set(key, "_GhlIHNhbXBsZSBub25jZQ=="), 400, "Key"},
		{"a key with a line break", set(key, "dGhlIHNhbXBs\r\nZSBub25jZQ=="), 400, "Key"},
		{"a body", func(r *http.Request) { r.ContentLength = 1 }, 400, "body"},
		{"a body of unknown length", func(r *http.Request) { r.ContentLength = -1 }, 400, "body"},
		{"a chunked body", func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, 400, "body"},
		{"malformed subprotocols", set("Sec-Websocket-Protocol", "a b"), 400, "Protocol"},
		{"malformed extensions", set("Sec-Websocket-Extensions", "x; =1"), 400, "Extensions"},
		{"another origin", set("Origin", "https://evil.com"), 403, "origin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := handshake()
			tc.change(r)
			checkRefusal(t, newRules(t, nil, nil).Check(r), tc.status, tc.text)
		})
	}
}

// checkRefusal checks a refusal's status, and that its Text contains text.
func checkRefusal(t *testing.T, got *admit.Refusal, status int, text string) {
	t.Helper()
	if got == nil {
		t.Fatalf("was accepted, want %d", status)
	}
	if got.Status != status || !strings.Contains(got.Text, text) || got.Detail == "" {
		t.Errorf("got %+v, want %d with %q", *got, status, text)
	}
	if strings.Contains(got.Text+got.Detail, "SECRET") {
		t.Errorf("got %+v, which has the query", *got)
	}
	if upgrade := got.Header.Get("Upgrade"); (upgrade == "websocket") != (status == http.StatusUpgradeRequired) {
		t.Errorf("got Upgrade %q with status %d", upgrade, got.Status)
	}
}

func TestRefusedOriginIsClipped(t *testing.T) {
	t.Parallel()
	r := handshake()
	r.Host = strings.Repeat("h", 10_000)
	r.Header["Origin"] = []string{"https://evil.com/\nforged" + strings.Repeat("o", 10_000)}
	got := newRules(t, nil, nil).Check(r)
	if got == nil || got.Status != http.StatusForbidden {
		t.Fatalf("got %v, want 403", got)
	}
	if len(got.Detail) > 600 || strings.Contains(got.Detail, "\n") || !strings.Contains(got.Detail, "https://evil.com") {
		t.Errorf("got detail of %d bytes, want one short line that names the origin: %.600q", len(got.Detail), got.Detail)
	}
}

func TestSubprotocol(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ spoken, offered, want string }{
		{"", "", ""},
		{"v2 v1", "", ""},
		{"", "v1", ""},
		{"v2", "v1,v3", ""},
		{"v3 v2 v1", "v4,v1,v2", "v1"},
		{"v1", "v, v10, xv1", ""},
		{"v1", "V1", ""},
		{"v1 v2", "x|\tv2 ,v1", "v2"},
	} {
		r := handshake()
		if tc.offered != "" {
			r.Header["Sec-Websocket-Protocol"] = strings.Split(tc.offered, "|")
		}
		if got := newRules(t, nil, strings.Fields(tc.spoken)).Subprotocol(r); got != tc.want {
			t.Errorf("spoken %q, offered %q: got %q, want %q", tc.spoken, tc.offered, got, tc.want)
		}
	}
	spoken := []string{"v1"}
	rules := newRules(t, nil, spoken)
	spoken[0] = "v2"
	r := handshake()
	r.Header["Sec-Websocket-Protocol"] = []string{"v2, v1"}
	if got := rules.Subprotocol(r); got != "v1" {
		t.Errorf("after a change of the slice: got %q, want v1", got)
	}
}

var legalKey = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`)

func FuzzCheck(f *testing.F) {
	f.Add("GET", "/ws", "example.com", "Upgrade", "websocket", "13", "dGhlIHNhbXBsZSBub25jZQ==", "v1, v2", "permessage-deflate; x=\"1\"", "https://example.com", uint8(0))
	f.Add("GET", "http://example.com", "example.com", "keep-alive, upgrade", "h2c, WebSocket", "13", "dGhlIHNhbXBsZSBub25jZQ==", "v1", "x", "null", uint8(1))
	f.Add("POST", "*", "", "", "", "8", "", "", "", "", uint8(2))
	f.Add("GET", "", "[::1]:80", "upgrade", "websocket", "13", "dGhlIHNhbXBs\nZSBub25jZQ==", ",", ";", "http://[::1]", uint8(3))
	f.Fuzz(func(t *testing.T, method, target, host, connection, upgrade, version, key, protocols, extensions, origin string, twice uint8) {
		r := handshake()
		r.Method, r.RequestURI, r.Host = method, target, host
		r.Header = http.Header{"Connection": {connection}, "Upgrade": {upgrade}, "Sec-Websocket-Version": {version}, "Sec-Websocket-Key": {key},
			"Sec-Websocket-Protocol": {protocols}, "Sec-Websocket-Extensions": {extensions}, "Origin": {origin}}
		if twice&1 != 0 {
			r.Header.Add("Sec-WebSocket-Version", version)
		}
		if twice&2 != 0 {
			r.Header.Add("Sec-WebSocket-Key", key)
		}
		rules := newRules(t, nil, []string{"v1", "v2"})
		if got := rules.Subprotocol(r); got != "" && !slices.Contains([]string{"v1", "v2"}, got) {
			t.Errorf("subprotocol: got %q, want one that is spoken", got)
		}
		refusal := rules.Check(r)
		if refusal != nil {
			if http.StatusText(refusal.Status) == "" || refusal.Status < 400 || refusal.Text == "" || refusal.Detail == "" {
				t.Errorf("got %+v, want a status with texts", *refusal)
			}
			return
		}
		if twice&3 != 0 || version != "13" || !legalKey.MatchString(key) || method != http.MethodGet || host == "" ||
			!strings.Contains(strings.ToLower(connection), "upgrade") || !strings.Contains(strings.ToLower(upgrade), "websocket") {
			t.Errorf("was accepted: %s %q, Host %q, Connection %q, Upgrade %q, version %q, key %q, each twice: %b",
				method, target, host, connection, upgrade, version, key, twice&3)
		}
	})
}

func TestRefusalWrite(t *testing.T) {
	t.Parallel()
	refusal := &admit.Refusal{Status: 426, Text: "for the client", Detail: "for the log",
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Retry-After": {"3"}}}
	for proto, want := range map[string][]string{"HTTP/1.1": {"close", "Upgrade"}, "HTTP/2.0": {"Upgrade"}} {
		r := handshake()
		r.Proto, r.ProtoMajor = proto, int(proto[5]-'0')
		w := httptest.NewRecorder()
		w.Header().Set("Connection", "from a handler in front")
		if proto == "HTTP/2.0" {
			w.Header().Del("Connection")
		}
		refusal.Write(w, r)
		if got := w.Header()["Connection"]; !slices.Equal(got, want) {
			t.Errorf("%s: got Connection %q, want %q", proto, got, want)
		}
		if w.Code != 426 || w.Body.String() != "for the client\n" || w.Header().Get("Upgrade") != "websocket" || w.Header().Get("Retry-After") != "3" {
			t.Errorf("%s: got %d %q %v, want what the refusal says", proto, w.Code, w.Body, w.Header())
		}
	}
}
