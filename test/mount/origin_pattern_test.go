package mount_test

// Options.Origins.

import (
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

func TestOriginPatterns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patterns         string // separated by spaces
		allowed, refused []string
	}{
		{
			"app.example",
			[]string{"http://app.example", "https://app.example", "https://app.example:443", "http://app.example:80",
				"HTTPS://APP.EXAMPLE"},
			[]string{"https://app.example:8443", "https://app.example:80", "https://x.app.example", "https://app.example.evil.com",
				"https://evilapp.example", "https://app.example.", "null"},
		},
		{
			"*.app.example",
			[]string{"https://a.app.example", "https://a.b.app.example", "http://A.app.example", "https://xn--a.app.example"},
			[]string{"https://app.example", "https://evilapp.example", "https://a.app.example.evil.com", "https://a.app.example:8443",
				"https://evil.com/.app.example", "https://evil.com#.app.example", "https://evil.com?.app.example",
				`https://evil.com\.app.example`, "https://evil.com%2f.app.example", "https://evil.com@a.app.example",
				"https://evil.com:80.app.example", "https://*.app.example", "https://[::1].app.example", "https://ä.app.example"},
		},
		{
			"preview-*.app.example",
			[]string{"https://preview-1.app.example", "https://preview-a-b.app.example"},
			[]string{"https://preview.app.example", "https://evil.com/preview-1.app.example", "https://x-preview-1.app.example"},
		},
		{
			"app.*",
			[]string{"https://app.example", "https://app.example.org"},
			[]string{"https://app", "https://xapp.example"},
		},
		{
			"https://app.example",
			[]string{"https://app.example", "https://app.example:443", "HTTPS://App.Example"},
			[]string{"http://app.example", "wss://app.example", "http://app.example:443", "https://app.example:8443", "weapp://app.example"},
		},
		{
			"HTTPS://App.Example:443",
			[]string{"https://app.example", "https://app.example:443"},
			[]string{"http://app.example", "http://app.example:443"},
		},
		{
			"app.example:8443",
			[]string{"https://app.example:8443", "http://app.example:8443"},
			[]string{"https://app.example", "https://app.example:443", "https://app.example:84430"},
		},
		{
			"*.app.example:8443",
			[]string{"https://a.app.example:8443"},
			[]string{"https://a.app.example", "https://app.example:8443"},
		},
		{
			"localhost:*",
			[]string{"http://localhost", "http://localhost:3000", "https://localhost:65535"},
			[]string{"http://localhost.evil.com:3000", "http://evil.com:3000", "http://localhost:x", "http://localhost:"},
		},
		{
			"http://localhost:*",
			[]string{"http://localhost:3000"},
			[]string{"https://localhost:3000"},
		},
		{
			"https://*",
			[]string{"https://app.example", "https://a.b.c"},
			[]string{"http://app.example", "https://app.example:8443", "https://", "https:///", "null"},
		},
		{
			"weapp://*",
			[]string{"weapp://wx0123456789abcdef", "weapp://servicewechat.com"},
			[]string{"https://wx0123456789abcdef", "weapp://", "weapp://a/b", "xweapp://a", "null"},
		},
		{
			"chrome-extension://abcdefghijklmnop",
			[]string{"chrome-extension://abcdefghijklmnop"},
			[]string{"chrome-extension://bbcdefghijklmnop", "https://abcdefghijklmnop", "moz-extension://abcdefghijklmnop"},
		},
		{
			"[::1]:3000 127.0.0.1:3000",
			[]string{"http://[::1]:3000", "http://127.0.0.1:3000"},
			[]string{"http://[::1]", "http://[::2]:3000", "http://[0::1]:3000", "http://127.0.0.2:3000"},
		},
		{
			"*",
			[]string{"https://evil.com", "null", "", "garbage", "file://", "http://user@evil.com/path", "https://*", "http://exämple.com"},
			nil,
		},
		{
			"null",
			[]string{"null"},
			[]string{"NULL", " null", "null ", "http://null", "file://", "", "https://evil.com"},
		},
		{
			"https://a.example *.b.example null",
			[]string{"https://a.example", "http://x.b.example", "null"},
			[]string{"http://a.example", "https://b.example", "https://c.example"},
		},
	} {
		s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: strings.Fields(tc.patterns)}}
		for _, origin := range tc.allowed {
			if !admits(t, s, "example.com", origin) {
				t.Errorf("Origins %q, Origin %q: got 403, want it let in", tc.patterns, origin)
			}
		}
		for _, origin := range tc.refused {
			if admits(t, s, "example.com", origin) {
				t.Errorf("Origins %q, Origin %q: was let in, want 403", tc.patterns, origin)
			}
		}
		// Patterns add to the request's own host.
		if !admits(t, s, "example.com", "https://example.com") {
			t.Errorf("Origins %q: the same host got 403, want it let in", tc.patterns)
		}
	}
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet, Origins: []string{"*"}}}
	if !admits(t, s, "example.com", "http://a.example", "http://b.example") {
		t.Error(`Origins "*": several Origin headers got 403, want them let in`)
	}
}
