package mount_test

// Arbitrary origins, against a model by net/url.

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

// FuzzOrigin compares the server's decision with the origin as net/url parses it.
func FuzzOrigin(f *testing.F) {
	for _, seed := range [][3]string{
		{"example.com", "http://example.com", "app.example"},
		{"example.com:443", "https://example.com", "*.app.example"},
		{"[::1]:8080", "http://[::1]:8080", "[::1]"},
		{"example.com", "https://a.app.example:8443", "https://*.app.example:*"},
		{"example.com", "weapp://wx0123456789abcdef", "weapp://*"},
		{"example.com", "null", "null"},
		{"example.com", "http://evil.com@example.com", "localhost:*"},
		{"example.com", "http://example.com.evil.com", "*"},
		{"example.com", `http://evil.com\.app.example`, "*.app.example"},
		{"*", "http://*", "*:80"},
		{"", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, host, origin, pattern string) {
		if _, rest, _ := strings.Cut(origin, "://"); strings.HasPrefix(rest, "[") {
			if _, err := url.Parse("x://" + rest); err != nil {
				t.Skip("not an IPv6 address: no browser is there")
			}
		}
		plain := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
		same := admits(t, plain, host, origin)
		if same && !ofHost(origin, host) {
			t.Errorf("Origin %q, Host %q: was let in, want 403: net/url sees another host", origin, host)
		}
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{pattern}}}
		admitted, wrong := false, false
		func() {
			defer func() {
				if v := recover(); v != nil {
					wrong = true
					if message, ok := v.(string); !ok || !strings.HasPrefix(message, "hail: Options.Origins[0]: ") {
						panic(v)
					}
				}
			}()
			admitted = admits(t, s, host, origin)
		}()
		switch {
		case wrong || pattern == "*":
		case same && !admitted:
			t.Errorf("Origin %q, Host %q, pattern %q: got 403, want it let in as without the pattern", origin, host, pattern)
		case admitted && !same && !ofPattern(origin, pattern):
			t.Errorf("Origin %q, Host %q, pattern %q: was let in, want 403", origin, host, pattern)
		}
	})
}

// parsedOrigin returns the host and the port that net/url finds in an origin that has no more than those.
func parsedOrigin(origin string) (u *url.URL, port string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Opaque != "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, "", false
	}
	port = u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}[u.Scheme]
	}
	return u, port, u.Hostname() != "" && u.Scheme != ""
}

// ofHost reports whether an origin is the web's and names the host of a request.
func ofHost(origin, host string) bool {
	u, port, ok := parsedOrigin(origin)
	if !ok {
		return false
	}
	want, wantPort, ok := parsedOrigin(u.Scheme + "://" + host)
	return ok && port != "" && port == wantPort && asciiLower(u.Hostname()) == asciiLower(want.Hostname())
}

// ofPattern reports whether an origin's host is one that the pattern's text can stand for.
func ofPattern(origin, pattern string) bool {
	if origin == "null" {
		return pattern == "null"
	}
	scheme, rest, _ := strings.Cut(origin, "://")
	u, _, ok := parsedOrigin("x://" + rest) // which schemes there are is not the question
	if !ok {
		return false
	}
	if wantScheme, hostPattern, found := strings.Cut(pattern, "://"); found {
		if asciiLower(scheme) != asciiLower(wantScheme) {
			return false
		}
		pattern = hostPattern
	}
	if i := strings.LastIndexByte(pattern, ':'); i > strings.LastIndexByte(pattern, ']') {
		pattern = pattern[:i]
	}
	pattern = strings.Trim(asciiLower(pattern), "[]")
	glob := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
	return regexp.MustCompile(`\A(?s:` + glob + `)\z`).MatchString(asciiLower(u.Hostname()))
}

// asciiLower is strings.ToLower for the letters that hosts have.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
