package admit_test

// Origins: patterns, and malformed ones.

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/hail/internal/admit"
)

// allows reports whether rules accept a request with these Origin headers.
func allows(t *testing.T, rules *admit.Rules, host string, origins ...string) bool {
	t.Helper()
	r := handshake()
	r.Host = host
	r.Header["Origin"] = origins
	refusal := rules.Check(r)
	if refusal != nil && refusal.Status != http.StatusForbidden {
		t.Fatalf("Origin %q, Host %q: got %d %s, want none or 403", origins, host, refusal.Status, refusal.Text)
	}
	return refusal == nil
}

func newRules(t *testing.T, origins, subprotocols []string) *admit.Rules {
	t.Helper()
	rules, err := admit.NewRules(origins, subprotocols)
	if err != nil {
		t.Fatalf("NewRules(%q, %q): %v", origins, subprotocols, err)
	}
	return rules
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patterns        string // separated by spaces
		allowed, others string
	}{
		{"", "http://example.com https://EXAMPLE.com:443", "http://example.com:8080 ftp://example.com https://a.example null example.com"},
		{"a.example", "http://a.example https://a.example:443 HTTPS://A.Example", "https://a.example:80 https://x.a.example https://a.example. weapp://a.example:1"},
		{"*.a.example", "https://x.a.example https://x.y.a.example", "https://a.example https://xa.example https://*.a.example https://x.a.example.evil.com"},
		{"x-*.a.example", "https://x-1.a.example https://x-.a.example", "https://x.a.example https://y-x-1.a.example"},
		{"https://a.example", "https://a.example https://a.example:443", "http://a.example wss://a.example https://a.example:8443"},
		{"a.example:8443", "http://a.example:8443 https://a.example:8443", "https://a.example https://a.example:84430"},
		{"localhost:*", "http://localhost http://localhost:1", "http://localhost.evil.com:1 http://localhost:"},
		{"weapp://*", "weapp://wx0123", "https://wx0123 weapp:// weapp://a/b"},
		{"[::1]:3000", "http://[::1]:3000", "http://[::1] http://[0::1]:3000"},
		{"*", "null garbage http://user@evil.com/path https://*", ""},
		{"null", "null", "NULL http://null"},
		{"https://a.example *.b.example", "https://a.example http://x.b.example", "http://a.example https://b.example null"},
	} {
		rules := newRules(t, strings.Fields(tc.patterns), nil)
		for _, origin := range strings.Fields(tc.allowed) {
			if !allows(t, rules, "example.com", origin) {
				t.Errorf("Origins %q: Origin %q got 403, want it allowed", tc.patterns, origin)
			}
		}
		for _, origin := range strings.Fields(tc.others) {
			if allows(t, rules, "example.com", origin) {
				t.Errorf("Origins %q: Origin %q was allowed, want 403", tc.patterns, origin)
			}
		}
		if !allows(t, rules, "example.com:80", "http://example.com") {
			t.Errorf("Origins %q: the request's own host got 403, want it allowed", tc.patterns)
		}
	}
}

func TestSeveralOrigins(t *testing.T) {
	t.Parallel()
	some, every := newRules(t, []string{"null", "a.example"}, nil), newRules(t, []string{"*"}, nil)
	for _, origins := range [][]string{{}, {"null", "null"}, {"http://example.com", "http://example.com"}, {"https://a.example", ""}} {
		if allows(t, some, "example.com", origins...) {
			t.Errorf("Origins %q were allowed, want 403", origins)
		}
		if !allows(t, every, "example.com", origins...) {
			t.Errorf("Origins %q got 403 by the pattern *, want them allowed", origins)
		}
	}
}

func TestNewRulesNamesTheOption(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want                  string
		origins, subprotocols []string
	}{
		{`Options.Origins[0]: "" is not a host, host:port or origin`, []string{""}, nil},
		{`Options.Origins[1]: "a/b" is not a host, host:port or origin`, []string{"a", "a/b"}, nil},
		{`Options.Origins[0]: "https://a/" is not scheme://host or scheme://host:port`, []string{"https://a/"}, nil},
		{`Options.Origins[0]: "*://a" is not scheme://host or scheme://host:port`, []string{"*://a"}, nil},
		{`Options.Origins[0]: "://a" is not scheme://host or scheme://host:port`, []string{"://a"}, nil},
		{`Options.Origins[0]: "a:" is not a host, host:port or origin`, []string{"a:"}, nil},
		{`Options.Origins[0]: "a:8*" is not a host, host:port or origin`, []string{"a:8*"}, nil},
		{`Options.Origins[0]: "a[b]c" is not a host, host:port or origin`, []string{"a[b]c"}, nil},
		{`Options.Origins[0]: "a?c" is not a host, host:port or origin`, []string{"a?c"}, nil},
		{`Options.Origins[0]: "[*]" is not a host, host:port or origin`, []string{"[*]"}, nil},
		{`Options.Origins[0]: "ä" is not a host, host:port or origin`, []string{"ä"}, nil},
		{`Options.Subprotocols[0]: "" is not a token of RFC 9110 section 5.6.2`, nil, []string{""}},
		{`Options.Subprotocols[1]: "a b" is not a token of RFC 9110 section 5.6.2`, nil, []string{"a", "a b"}},
		{`Options.Subprotocols[0]: "a,b" is not a token of RFC 9110 section 5.6.2`, nil, []string{"a,b"}},
		{`Options.Subprotocols[0]: "a\r\nb" is not a token of RFC 9110 section 5.6.2`, nil, []string{"a\r\nb"}},
	} {
		rules, err := admit.NewRules(tc.origins, tc.subprotocols)
		if err == nil || err.Error() != tc.want || rules != nil {
			t.Errorf("NewRules(%q, %q): got %v, %v, want nil, %s", tc.origins, tc.subprotocols, rules, err, tc.want)
		}
	}
}

// TestLongOriginIsLinear uses an origin so long that a match in quadratic time would run for hours.
func TestLongOriginIsLinear(t *testing.T) {
	t.Parallel()
	rules := newRules(t, []string{"*a*a*a*b", "https://*.a*.*a.example", "aa*aa*aa", "*-*-*"}, nil)
	done := make(chan struct{})
	go func() { // ends with the checks
		defer close(done)
		for _, part := range []string{"a", "a.", "a-a.", "[:", "ä"} {
			origin := "https://" + strings.Repeat(part, 1<<20/len(part))
			allows(t, rules, "example.com", origin)
			allows(t, rules, origin, "https://example.com")
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("got no answer for origins of 1 MiB in 30 s, want it in milliseconds")
	}
}

func FuzzOrigin(f *testing.F) {
	for _, seed := range [][2]string{
		{"a.example", "https://a.example"}, {"A.example:8443", "http://a.example:8443"}, {"*.a.example", "https://x.a.example"},
		{"https://a.example", "https://a.example.evil.com"}, {"[::1]:80", "http://[::1]"}, {"weapp://*", "weapp://wx"},
		{"null", "null"}, {"*", "garbage"}, {"a.example", "https://evil.com#a.example"}, {"a_b", "x://a_b:1"}, {"-", "https://-"},
		{"a.example", "https://user@a.example"}, {"\u212A", "https://k"}, {"a:*", "https://a:1"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, origin string) {
		const own = "own.example"
		rules, err := admit.NewRules([]string{pattern}, nil)
		if err != nil {
			rules = newRules(t, nil, nil)
		}
		allowed := allows(t, rules, own, origin)
		if strings.Contains(pattern, "*") || pattern == "null" {
			return
		}
		if err == nil {
			itself := pattern
			if !strings.Contains(pattern, "://") {
				itself = "https://" + pattern
			}
			if !allows(t, rules, own, itself) {
				t.Errorf("pattern %q: Origin %q got 403, want it allowed", pattern, itself)
			}
		}
		if got := hostOf(origin); allowed && got != own && (err != nil || got != hostOf(pattern)) {
			t.Errorf("pattern %q: Origin %q of host %q was allowed, want 403", pattern, origin, got)
		}
	})
}

// hostOf returns the host that net/url finds in an origin, or in a pattern without a scheme, in lower case.
func hostOf(s string) string {
	if _, rest, found := strings.Cut(s, "://"); found {
		s = rest
	}
	u, err := url.Parse("x://" + s)
	if err != nil {
		return strings.ToLower(s) // an IPv6 address that net/url rejects is compared as it is spelled
	}
	return strings.ToLower(u.Hostname())
}
