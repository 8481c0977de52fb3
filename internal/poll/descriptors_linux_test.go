package poll_test

// Descriptors: closed once, never another socket's, and what happens without any.

import (
	"os"
	"strings"
	"testing"

	"example.com/hail/internal/poll"
)

// descriptors counts the process's open ones whose name begins like this.
func descriptors(t testing.TB, name string) int {
	t.Helper()
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink(dir + e.Name()); err == nil && strings.HasPrefix(target, name) {
			n++
		}
	}
	return n
}

// TestHaltLeavesNoDescriptor is not parallel: it counts the whole process's.
func TestHaltLeavesNoDescriptor(t *testing.T) {
	sets, sockets := descriptors(t, "anon_inode:[eventpoll]"), descriptors(t, "socket:")
	var p poll.Poller
	for range 5 {
		var handlers []*handler
		for range 10 {
			server, peer := socketPair(t)
			h := startOf(t, &p, server, nil)
			write(t, peer, []byte("a"))
			peer.Close()
			handlers = append(handlers, h)
		}
		for _, h := range handlers {
			wait(t, "Done", h.done)
		}
		p.Halt()
		if got := descriptors(t, "anon_inode:[eventpoll]"); got != sets {
			t.Errorf("%d epoll sets, want the %d that there were before", got, sets)
		}
		if got := descriptors(t, "socket:"); got != sockets {
			t.Errorf("%d sockets, want the %d that there were before", got, sockets)
		}
	}
}

// TestBlockingDescriptor has somebody ask for a connection's descriptor, which makes it one that blocks.
func TestBlockingDescriptor(t *testing.T) {
	t.Parallel()
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			server, peer := tr.pair(t)
			f, err := server.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			f.Fd()
			f.Close()
			var said <-chan string
			h := start(t, server, func(h *handler) {
				h.size = 1 // no read is short, so another has to find nothing
				said = echo(h)
			})
			write(t, peer, []byte("a"))
			wait(t, "Turn", said)
			h.sock.Close()
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
		})
	}
}
