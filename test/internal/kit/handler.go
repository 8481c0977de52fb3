package kit

// Callbacks that report to a test.

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"example.com/hail"
)

// Quiet is a logger for servers that are expected to log errors.
var Quiet = slog.New(slog.DiscardHandler)

// Accept is an OnConnect that sends nothing.
func Accept(*hail.Conn, *http.Request) error { return nil }

// NoPings are options for peers that cannot answer.
func NoPings(o hail.Options) hail.Options {
	o.PingInterval = -1
	o.Compression = true
	return o
}

// Events are the calls of a server's callbacks.
type Events struct {
	Conns  chan *hail.Conn
	Msgs   chan hail.Message
	Closed chan hail.CloseInfo
	Errs   chan error
}

// Observed returns h with its nil callbacks set to report events.
func Observed(h hail.Handler) (hail.Handler, Events) {
	const most = 1 << 12
	e := Events{make(chan *hail.Conn, most), make(chan hail.Message, most), make(chan hail.CloseInfo, most), make(chan error, most)}
	if h.OnConnect == nil {
		h.OnConnect = func(c *hail.Conn, _ *http.Request) error { e.Conns <- c; return nil }
	}
	if h.OnMessage == nil {
		h.OnMessage = func(_ *hail.Conn, m hail.Message) error { e.Msgs <- m; return nil }
	}
	if h.OnClose == nil {
		h.OnClose = func(_ *hail.Conn, info hail.CloseInfo) { e.Closed <- info }
	}
	if h.OnError == nil {
		h.OnError = func(_ *hail.Conn, err error) { e.Errs <- err }
	}
	return h, e
}

// Closes has an OnClose that reports to a test.
type Closes chan hail.CloseInfo

func NewCloses() Closes { return make(Closes, 16) }

func (ch Closes) Note(_ *hail.Conn, info hail.CloseInfo) { ch <- info }

// Next returns the next call's CloseInfo.
func (ch Closes) Next(t *testing.T) hail.CloseInfo {
	t.Helper()
	select {
	case info := <-ch:
		return info
	case <-time.After(20 * time.Second):
		t.Fatal("OnClose was not called within 20 s")
		panic("unreachable")
	}
}
