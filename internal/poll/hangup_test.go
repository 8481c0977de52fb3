package poll_test

// The peer's end of a connection, while nobody reads.

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// hangUps are the ways in which a peer hangs up.
var hangUps = []struct {
	name  string
	leave func(t *testing.T, peer net.Conn)
	want  string // read after it
	reset bool
}{
	{"FIN", func(t *testing.T, peer net.Conn) { peer.Close() }, "", false},
	{"half-close", func(t *testing.T, peer net.Conn) { peer.(interface{ CloseWrite() error }).CloseWrite() }, "", false},
	{"FIN after unread data", func(t *testing.T, peer net.Conn) {
		write(t, peer, []byte("unread"))
		peer.Close()
	}, "unread", false},
	{"RST", func(t *testing.T, peer net.Conn) {
		peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
	}, "", true},
}

func TestHangup(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of a hang-up that nobody has read")
	}
	for _, tr := range transports[:2] {
		for _, l := range hangUps {
			if l.reset && tr.name != "tcp" {
				continue // only TCP resets
			}
			t.Run(tr.name+"/"+l.name+" during a Ready", func(t *testing.T) {
				t.Parallel()
				server, peer := tr.pair(t)
				write(t, peer, []byte("a"))
				turns := make(chan struct{})
				told := make(chan error, 1)
				h := start(t, server, func(h *handler) {
					h.turn = func(p []byte, err error) bool {
						if h.turns == 1 {
							close(turns)
							told <- wait(t, "Hangup", h.hangups)
						}
						return err == nil
					}
				})
				wait(t, "Ready", turns)
				l.leave(t, peer)
				if err := wait(t, "Hangup", told); err != io.EOF {
					t.Errorf("Hangup(%v), want io.EOF", err)
				}
				wait(t, "Done", h.done)
				if got, want := string(h.all), "a"+l.want; got != want {
					t.Errorf("read %q, want %q", got, want)
				}
				if (h.err == io.EOF) == l.reset {
					t.Errorf("the end is %v, want a reset: %v", h.err, l.reset)
				}
				if !h.sock.HungUp() {
					t.Error("HungUp is false at the end, want true")
				}
				if n := len(h.hangups); n != 0 {
					t.Errorf("%d Hangups more, want none", n)
				}
			})
			t.Run(tr.name+"/"+l.name+" before Start", func(t *testing.T) {
				t.Parallel()
				server, peer := tr.pair(t)
				h := newHandler(t, server)
				l.leave(t, peer)
				wait(t, "Hangup", h.hangups)
				h.sock.Start(false)
				wait(t, "Done", h.done)
				if got := string(h.all); got != l.want {
					t.Errorf("read %q, want %q", got, l.want)
				}
			})
		}
	}
}

func TestNoHangup(t *testing.T) {
	t.Parallel()
	t.Run("of a peer that stays", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			echoed := make(chan string, 1)
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if err == nil {
						echoed <- string(p)
					}
					return err == nil
				}
			})
			for i := range 20 {
				want := strings.Repeat("x", i+1)
				write(t, peer, []byte(want))
				if got := wait(t, "Ready", echoed); got != want {
					t.Fatalf("read %q, want %q", got, want)
				}
			}
			if h.sock.HungUp() || len(h.hangups) != 0 {
				t.Errorf("HungUp %v and %d Hangups while the peer is there, want none", h.sock.HungUp(), len(h.hangups))
			}
			peer.Close()
			wait(t, "Done", h.done)
			if h.err != io.EOF {
				t.Errorf("the end is %v, want io.EOF", h.err)
			}
		})
	})
	t.Run("for our own Close", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					h.sock.Close()
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Done", h.done)
			if n := len(h.hangups); n != 0 {
				t.Errorf("%d Hangups for our own Close, want none", n)
			}
		})
	})
}
