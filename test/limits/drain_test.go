package limits_test

// Requests while the server shuts down.

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/hail"
)

// upgrade makes r a handshake of the version.
func upgrade(r *http.Request, version string) {
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", version)
	r.Header.Set("Sec-WebSocket-Key", "AQIDBAUGBwgJCgsMDQ4PEA==")
}

// TestDrainingComesFirst: a health check of a load balancer is a plain request, and learns of the end as a handshake does.
func TestDrainingComesFirst(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *hail.Server) error{
		"Shutdown": func(t *testing.T, s *hail.Server) error { return s.Shutdown(t.Context()) },
		"Close":    func(_ *testing.T, s *hail.Server) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &hail.Server{Options: hail.Options{Logger: slog.New(slog.DiscardHandler)}}
			if err := end(t, s); err != nil {
				t.Fatal(err)
			}
			for what, change := range map[string]func(*http.Request){
				"a plain request": func(*http.Request) {},
				"HEAD":            func(r *http.Request) { r.Method = http.MethodHead },
				"POST":            func(r *http.Request) { r.Method = http.MethodPost },
				"HTTP/2":          func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 },
				"HTTP/1.0":        func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 },
				"a page's handshake": func(r *http.Request) {
					upgrade(r, "13")
					r.Header.Set("Origin", "https://elsewhere.example")
				},
				"an old handshake": func(r *http.Request) { upgrade(r, "8") },
			} {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				change(r)
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
					t.Errorf("%s: got %d, Retry-After %q, want 503 with Retry-After", what, w.Code, w.Header().Get("Retry-After"))
				}
			}
		})
	}
}
