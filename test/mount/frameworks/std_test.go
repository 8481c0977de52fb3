package frameworks_test

// net/http: ServeMux, and the wrappers that come with it.

import (
	"net/http"
	"testing"

	"example.com/hail"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func serveMux() rig.Framework {
	return rig.Framework{Name: "http.ServeMux", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /rooms/{room}/ws", rig.Auth(ws))
		mux.HandleFunc("GET /panic", rig.Panic)
		h := http.NewCrossOriginProtection().Handler(mux)
		h = http.MaxBytesHandler(h, 1<<10)
		return rig.AccessLog(hooks.AccessLog, rig.Recover(hooks.Recovered, h))
	}}
}

func stripPrefix() rig.Framework {
	inner := serveMux()
	return rig.Framework{Name: "http.StripPrefix", Prefix: "/api", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/api/", http.StripPrefix("/api", inner.Mount(ws, hooks)))
		return mux
	}}
}

func TestStripPrefixPath(t *testing.T) {
	t.Parallel()
	s := rig.Start(t, stripPrefix(), &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error { return c.Send(hail.Text(r.URL.Path)) },
	}})
	s.Dial(t, "?token=t-anna").Want(t, "/rooms/blue/ws")
}
