package frameworks_test

// chi: a router in a router, behind the middleware that most services put in front.

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"example.com/hail"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func chiRouter() rig.Framework { return chiWithTimeout(time.Minute) }

func chiWithTimeout(timeout time.Duration) rig.Framework {
	return rig.Framework{Name: "chi", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		rooms := chi.NewRouter()
		rooms.With(rig.Auth).Get("/{room}/ws", ws.ServeHTTP)

		r := chi.NewRouter()
		//lint:ignore SA1019 services have it, and it changes RemoteAddr
		r.Use(middleware.RealIP)
		r.Use(middleware.RequestLogger(chiLog{hooks}))
		r.Use(middleware.Recoverer)
		r.Use(middleware.Compress(5))
		r.Use(middleware.Timeout(timeout))
		r.Get("/panic", rig.Panic)
		r.Mount("/rooms", rooms)
		return r
	}}
}

// chiLog is what middleware.Logger is made of, and Recoverer reports to.
type chiLog struct{ hooks rig.Hooks }

func (l chiLog) NewLogEntry(r *http.Request) middleware.LogEntry {
	f := middleware.DefaultLogFormatter{Logger: log.New(l.hooks.AccessLog, "", 0), NoColor: true}
	return chiLogEntry{f.NewLogEntry(r), l.hooks}
}

type chiLogEntry struct {
	middleware.LogEntry
	hooks rig.Hooks
}

func (e chiLogEntry) Panic(v any, _ []byte) { e.hooks.Recovered(v) }

func TestChiURLParam(t *testing.T) {
	t.Parallel()
	s := rig.Start(t, chiRouter(), &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error { return c.Send(hail.Text(chi.URLParam(r, "room"))) },
	}})
	s.Dial(t, "?token=t-anna").Want(t, "blue")
}

// The request's context ends by its deadline while OnConnect runs, and Timeout then tries to answer 504.
func TestChiTimeoutExpires(t *testing.T) {
	t.Parallel()
	s := rig.Start(t, chiWithTimeout(time.Millisecond), &hail.Server{Handler: hail.Handler{
		OnConnect: func(c *hail.Conn, r *http.Request) error {
			<-r.Context().Done()
			timedOut := errors.Is(r.Context().Err(), context.DeadlineExceeded)
			return c.Send(hail.Text(fmt.Sprint(timedOut, " ", c.Context().Err())))
		},
		OnMessage: func(c *hail.Conn, _ hail.Message) error {
			_, limited := c.Context().Deadline()
			return c.Send(hail.Text(fmt.Sprint(rig.User(c.Context()), " ", limited, " ", c.Context().Err())))
		},
	}})
	c := s.Dial(t, "?token=t-anna")
	c.Want(t, "true <nil>")
	s.Returned(t)
	c.Send(t, "still there?")
	c.Want(t, "anna false <nil>")
}

func TestChiRealIPCounts(t *testing.T) {
	t.Parallel()
	s := rig.Start(t, chiRouter(), &hail.Server{Options: hail.Options{MaxConnsPerIP: 1}})
	testPerIP(t, s, "X-Real-IP")
}

// testPerIP tests that MaxConnsPerIP, at 1, counts by the address that middleware took from a header.
func testPerIP(t *testing.T, s *rig.Service, header string) {
	t.Helper()
	s.Dial(t, "?token=t-anna", header, "192.0.2.1").Want(t, hail.DefaultGreeting)
	s.Dial(t, "?token=t-anna", header, "192.0.2.2").Want(t, hail.DefaultGreeting)
	_, resp, err := s.TryDial(t, "?token=t-anna", header, "192.0.2.1")
	if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("second connection from one address: got %+v, %v, want 429", resp, err)
	}
}
