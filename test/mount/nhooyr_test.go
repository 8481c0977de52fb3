package mount_test

//lint:file-ignore SA1019 the test is of the deprecated client

// Services that are still on nhooyr.io/websocket, the engine's old path, can talk to hail.

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nhooyr.io/websocket"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

// dialNhooyr serves server over TCP and connects the old client to it. The context ends every wait.
func dialNhooyr(t *testing.T, server *hail.Server, opts *websocket.DialOptions) (context.Context, *websocket.Conn) {
	t.Helper()
	s := httptest.NewServer(server)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http")+"/ws", opts)
	if err != nil {
		t.Fatalf("dial: got %v, want nil", err)
	}
	t.Cleanup(func() {
		c.CloseNow()
		cancel()
		if err := server.Close(); err != nil {
			t.Errorf("Close: got %v, want nil", err)
		}
		s.Close()
	})
	return ctx, c
}

func wantNhooyr(ctx context.Context, t *testing.T, c *websocket.Conn, wantType websocket.MessageType, want []byte) {
	t.Helper()
	kind, got, err := c.Read(ctx)
	if err != nil || kind != wantType || !bytes.Equal(got, want) {
		t.Fatalf("read: got %v of %d bytes %.40q, %v, want %v of %d bytes %.40q", kind, len(got), got, err, wantType, len(want), want)
	}
}

func TestNhooyrClient(t *testing.T) {
	t.Parallel()
	t.Run("greeting and reply", func(t *testing.T) {
		t.Parallel()
		ctx, c := dialNhooyr(t, &hail.Server{}, nil)
		wantNhooyr(ctx, t, c, websocket.MessageText, []byte("something"))
		for range 2 {
			if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
				t.Fatalf("write: got %v, want nil", err)
			}
			wantNhooyr(ctx, t, c, websocket.MessageText, []byte("something123"))
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	})

	t.Run("client closes", func(t *testing.T) {
		t.Parallel()
		ends := kit.NewCloses()
		_, c := dialNhooyr(t, &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnClose:   ends.Note,
		}}, nil)
		if err := c.Close(websocket.StatusGoingAway, "done"); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
		want := hail.CloseInfo{Code: hail.StatusGoingAway, Reason: "done", Cause: hail.CausePeerClosed, Opened: true}
		if got := ends.Next(t); got != want {
			t.Errorf("OnClose: got %+v, want %+v", got, want)
		}
	})

	t.Run("server closes", func(t *testing.T) {
		t.Parallel()
		ends := kit.NewCloses()
		ctx, c := dialNhooyr(t, &hail.Server{Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, _ *http.Request) error { return c.Close(4000, "enough") },
			OnClose:   ends.Note,
		}}, nil)
		_, _, err := c.Read(ctx)
		var got websocket.CloseError
		if want := (websocket.CloseError{Code: 4000, Reason: "enough"}); !errors.As(err, &got) || got != want {
			t.Errorf("read: got %v, want %v", err, want)
		}
		want := hail.CloseInfo{Code: 4000, Reason: "enough", Cause: hail.CauseClosed, Opened: true}
		if got := ends.Next(t); got != want {
			t.Errorf("OnClose: got %+v, want %+v", got, want)
		}
	})

	t.Run("ping", func(t *testing.T) {
		t.Parallel()
		ctx, c := dialNhooyr(t, &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
		}}, nil)
		c.CloseRead(ctx)
		if err := c.Ping(ctx); err != nil {
			t.Errorf("ping: got %v, want nil", err)
		}
	})

	for name, mode := range map[string]websocket.CompressionMode{
		"uncompressed":                     websocket.CompressionDisabled,
		"compressed":                       websocket.CompressionNoContextTakeover,
		"compressed with context takeover": websocket.CompressionContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, c := dialNhooyr(t, &hail.Server{
				Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo},
				Options: hail.Options{Compression: true},
			}, &websocket.DialOptions{CompressionMode: mode})
			for _, data := range [][]byte{{}, []byte("short"), bytes.Repeat([]byte("a longer one "), 2000)} {
				if err := c.Write(ctx, websocket.MessageBinary, data); err != nil {
					t.Fatalf("write: got %v, want nil", err)
				}
				wantNhooyr(ctx, t, c, websocket.MessageBinary, data)
			}
		})
	}
}
