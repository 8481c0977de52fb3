package frameworks_test

// gorilla/handlers in front of a ServeMux.

import (
	"net/http"
	"testing"

	"github.com/gorilla/handlers"

	"example.com/hail"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func gorilla() rig.Framework {
	return rig.Framework{Name: "gorilla/handlers", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /rooms/{room}/ws", rig.Auth(ws))
		mux.HandleFunc("GET /panic", rig.Panic)
		h := handlers.RecoveryHandler(handlers.RecoveryLogger(gorillaLog{hooks}))(mux)
		h = handlers.CompressHandler(h)
		h = handlers.CombinedLoggingHandler(hooks.AccessLog, h)
		return handlers.ProxyHeaders(h)
	}}
}

// gorillaLog is what RecoveryHandler reports to.
type gorillaLog struct{ hooks rig.Hooks }

func (l gorillaLog) Println(v ...any) { l.hooks.Recovered(v[0]) }

func TestGorillaProxyHeaders(t *testing.T) {
	t.Parallel()
	t.Run("address", func(t *testing.T) {
		t.Parallel()
		s := rig.Start(t, gorilla(), &hail.Server{Options: hail.Options{MaxConnsPerIP: 1}})
		testPerIP(t, s, "X-Forwarded-For")
	})
	t.Run("host", func(t *testing.T) {
		t.Parallel()
		s := rig.Start(t, gorilla(), &hail.Server{})
		page := []string{"Origin", "https://app.example.com"}
		s.Dial(t, "?token=t-anna", append(page, "X-Forwarded-Host", "app.example.com", "X-Forwarded-Proto", "https")...).
			Want(t, hail.DefaultGreeting)
		_, resp, err := s.TryDial(t, "?token=t-anna", page...)
		if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("page of another host: got %+v, %v, want 403", resp, err)
		}
	})
}
