package hostile_test

// Pages of other origins, in spellings that have fooled servers.

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

func TestCrossOrigins(t *testing.T) {
	const (
		times      = 1000 / scale
		originHeap = 64 << 10 // nothing is kept of a refusal
		originTime = 20 * time.Second
	)
	options := hail.Options{Logger: kit.Quiet, Origins: []string{"https://app.example.com", "*.example.org"}}
	s := &hail.Server{Options: options}
	tg := serve(t, "epoll", hail.Handler{}, options)
	for name, origin := range map[string]string{
		"suffix":              "https://evilapp.example.com",
		"suffix of a pattern": "https://evilexample.org",
		"prefix":              "https://app.example.com.evil.example",
		"prefix of the host":  "http://example.com.evil.example",
		"userinfo":            "https://app.example.com@evil.example",
		"password":            "https://app.example.com:443@evil.example",
		"port":                "https://app.example.com:8443",
		"port without digits": "https://app.example.com:",
		"IDN":                 "https://app.ex\u0430mple.com",
		"punycode":            "https://app.xn--exmple-4nf.com",
		"folding":             "https://app.e\uff58ample.com",
		"null":                "null",
		"file":                "file://",
		"file of the host":    "file://app.example.com",
		"scheme":              "http://app.example.com",
		"another scheme":      "javascript://app.example.com",
		"scheme, same port":   "http://app.example.com:443",
		"another, same port":  "javascript://app.example.com:443",
		"no scheme":           "app.example.com",
		"trailing dot":        "https://app.example.com.",
		"path":                "https://app.example.com/",
		"encoded path":        "https://evil.example/%2f..%2fapp.example.com",
		"encoded dot":         "https://app%2eexample.com",
		"encoded slash":       "https://evil.example%2f.example.org",
		"backslash":           "https://evil.example\\.example.org",
		"fragment":            "https://evil.example#.example.org",
		"query":               "https://evil.example?.example.org",
		"space":               "https://evil.example .example.org",
		"two":                 "https://app.example.com https://evil.example",
		"a tab":               "https://app.example.com\t.evil.example",
		"brackets":            "https://[app.example.com]",
		"empty":               "",
		"a pattern":           "*",
		"a list":              "https://app.example.com, https://evil.example",
		"two fields":          "https://app.example.com\r\nOrigin: https://evil.example",
		"two of the same":     "https://app.example.com\r\nOrigin: https://app.example.com",
	} {
		t.Run(name, func(t *testing.T) {
			bounds{originHeap, 0, originTime}.hold(t, func(look func(func() bool)) {
				for range times {
					r := request(t)
					r.Header["Origin"] = strings.Split(origin, "\r\nOrigin: ")
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					if w.Code != http.StatusForbidden || w.Header().Get("Connection") != "close" {
						t.Fatalf("Origin %q: got status %d, Connection %q; want 403, close", origin, w.Code, w.Header().Get("Connection"))
					}
				}
				look(nil)
			})
			c := dial(t, "epoll", tg.addr)
			defer c.reset()
			c.write([]byte(strings.TrimSuffix(kit.Handshake, "\r\n") + "Origin: " + origin + "\r\n\r\n"))
			if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != http.StatusForbidden || !resp.Close {
				t.Errorf("Origin %q over TCP: got %v, %v; want 403, close", origin, resp, err)
			}
		})
	}
}
