package conformance_test

// The handshake against arbitrary requests.

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail"
)

// Header fields of a legal handshake (RFC 6455 section 4.3, RFC 2616 section 2).
var (
	tokenRE     = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
	listRE      = func(element string) string { return `^[ \t,]*` + element + `([ \t]*,[ \t,]*` + element + `)*[ \t,]*$` }
	escapedRE   = "\"(\\\\?[!#$%&'*+\\-.^_`|~0-9A-Za-z])+\""
	paramRE     = tokenRE + `([ \t]*=[ \t]*(` + tokenRE + `|` + escapedRE + `))?`
	keyRE       = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`)
	tokensRE    = regexp.MustCompile(listRE(tokenRE))
	extensionRE = regexp.MustCompile(listRE(tokenRE + `([ \t]*;[ \t]*` + paramRE + `)*`))
	upgradeRE   = regexp.MustCompile(`(^|,)[ \t]*[wW][eE][bB][sS][oO][cC][kK][eE][tT][ \t]*(,|$)`)
	connRE      = regexp.MustCompile(`(^|,)[ \t]*[uU][pP][gG][rR][aA][dD][eE][ \t]*(,|$)`)
	agreedRE    = regexp.MustCompile(`^permessage-deflate; client_no_context_takeover; server_no_context_takeover(; server_max_window_bits=15)?$`)
)

// isLegal reports whether net/http's request is a handshake that a server accepts.
func isLegal(r *http.Request) bool {
	one := func(name string, re *regexp.Regexp) bool {
		return len(r.Header[name]) == 1 && re.MatchString(r.Header[name][0])
	}
	lines := func(name string, re *regexp.Regexp) bool {
		return !slices.ContainsFunc(r.Header[name], func(v string) bool { return !re.MatchString(v) && strings.Trim(v, " \t,") != "" }) &&
			(len(r.Header[name]) == 0 || strings.Trim(strings.Join(r.Header[name], ""), " \t,") != "") && parts(r.Header[name]) <= maxParts
	}
	whole := (r.URL.Scheme == "http" || r.URL.Scheme == "https") && r.URL.Host != ""
	return r.Method == "GET" && (strings.HasPrefix(r.RequestURI, "/") || whole) && r.ProtoMajor == 1 && r.ProtoMinor >= 1 && r.Host != "" &&
		slices.ContainsFunc(r.Header["Upgrade"], upgradeRE.MatchString) && slices.ContainsFunc(r.Header["Connection"], connRE.MatchString) &&
		one("Sec-Websocket-Key", keyRE) && one("Sec-Websocket-Version", regexp.MustCompile("^13$")) &&
		lines("Sec-Websocket-Protocol", tokensRE) && lines("Sec-Websocket-Extensions", extensionRE) &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// maxParts is how many parts a list may have.
const maxParts = 100

// parts counts the parts between commas and semicolons.
func parts(lists []string) (n int) {
	for _, part := range strings.FieldsFunc(strings.Join(lists, ","), func(r rune) bool { return r == ',' || r == ';' }) {
		if strings.Trim(part, " \t") != "" {
			n++
		}
	}
	return n
}

// FuzzHandshake sends a server arbitrary bytes. The server has to send one legal response, which is 101 if and
// only if the handshake is legal. No goroutine may be left.
func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{
		with("x"), with("GET", "POST /chat HTTP/1.1"), with("GET", "GET * HTTP/1.1"), with("GET", "GET ws://a/ HTTP/1.1"), with("GET", "GET /chat HTTP/1.0"), with("Host"), with("Upgrade", "Upgrade: h2c, WebSocket"),
		with("x", "Sec-WebSocket-Protocol: "+strings.Repeat("a,", 120)), with("x", "Sec-WebSocket-Extensions: a"+strings.Repeat(";b", 120)),
		with("Connection", "Connection: keep-alive", "Connection: upgrade"), with("x", "Sec-WebSocket-Protocol: chat, v2", "Sec-WebSocket-Protocol: v3"),
		with("x", `Sec-WebSocket-Extensions: foo; a="\b", permessage-deflate; server_max_window_bits=15; client_max_window_bits`),
		with("x", "Content-Length: 3") + "abc", with("x", "Transfer-Encoding: chunked") + "0\r\n\r\n", with("x", "Expect: 100-continue"),
		with("x") + string(frames(text("early"), bye)), with("x", "Origin: http://server.example.com"), with("x", " folded: x"), "GET / HTTP/1.1\r\n", "\r\n\r\n",
		with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8") + with("x"), with("Upgrade", "Upgrade: web\u017focket"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		synctest.Test(t, func(t *testing.T) { shake(t, request[:min(len(request), 4<<10)]) })
	})
}

// shake sends a request to a server and checks the response.
func shake(t *testing.T, request []byte) {
	server, _ := echo(hail.Options{Compression: true, Subprotocols: []string{"v2", "chat"}, Origins: []string{"*"}})
	var seen *http.Request // the first request that net/http accepted
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen == nil {
			seen = r.Clone(r.Context())
		}
		server.ServeHTTP(w, r)
	})
	conn := connect(t, handler)
	conn.Write(request)
	conn.CloseWrite()
	answer, _ := io.ReadAll(conn)
	if len(answer) == 0 {
		if seen != nil {
			t.Errorf("%q reached the server and got no answer", request)
		}
		return // the bytes ended before the request did
	}
	br := bufio.NewReader(bytes.NewReader(answer))
	method := "GET"
	if seen != nil {
		method = seen.Method
	}
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: got %q, which is no response: %v", request, answer, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		checkAccepted(t, request, seen, resp)
		for _, frame := range parse(t, br) {
			if strings.HasPrefix(frame, "odd") {
				t.Errorf("%q: got %s after the handshake", request, frame)
			}
		}
		return
	}
	if seen != nil && isLegal(seen) {
		t.Errorf("%q is legal, and was answered %s", request, resp.Status)
	}
	if _, err := io.ReadAll(resp.Body); err != nil || br.Buffered() > 0 {
		t.Errorf("%q: got %q, with a body that ends with %v and %d bytes after it", request, answer, err, br.Buffered())
	}
}

// checkAccepted checks a server's handshake.
func checkAccepted(t *testing.T, request []byte, r *http.Request, resp *http.Response) {
	t.Helper()
	if r == nil || !isLegal(r) {
		t.Fatalf("%q is no legal handshake, and was accepted", request)
	}
	for name, want := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": acceptFor(r.Header.Get("Sec-WebSocket-Key"))} {
		if got := resp.Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%q: got %s: %q, want %q", request, name, got, want)
		}
	}
	if got := resp.Header["Sec-Websocket-Protocol"]; got != nil && (len(got) != 1 || got[0] != "v2" && got[0] != "chat" ||
		!strings.Contains(strings.Join(r.Header["Sec-Websocket-Protocol"], ","), got[0])) {
		t.Errorf("%q: got Sec-WebSocket-Protocol: %q", request, got)
	}
	if got := resp.Header["Sec-Websocket-Extensions"]; got != nil && (len(got) != 1 || !agreedRE.MatchString(got[0]) ||
		!strings.Contains(strings.Join(r.Header["Sec-Websocket-Extensions"], ","), "permessage-deflate")) {
		t.Errorf("%q: got Sec-WebSocket-Extensions: %q", request, got)
	}
}
