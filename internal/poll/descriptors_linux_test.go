package poll_test

// Descriptors: each is closed once, no socket uses another's, and sockets work if none is left.

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"example.com/hail/internal/poll"
)

// descriptors counts the process's open descriptors whose name begins with name.
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

// TestHaltLeavesNoDescriptor is not parallel: it counts the descriptors of the whole process. The garbage collector may
// close sets of earlier tests meanwhile.
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
		if got := descriptors(t, "anon_inode:[eventpoll]"); got > sets {
			t.Errorf("%d epoll sets, want no more than the %d that there were before", got, sets)
		}
		if got := descriptors(t, "socket:"); got > sockets {
			t.Errorf("%d sockets, want no more than the %d that there were before", got, sockets)
		}
	}
}

// TestBlockingDescriptor asks for a connection's descriptor, which makes it blocking.
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
				h.size = 1 // no read is short, so one more has to find nothing
				said = echo(h)
			})
			write(t, peer, []byte("a"))
			wait(t, "Ready", said)
			h.sock.Close()
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
		})
	}
}

// TestReusedDescriptors has events of sockets that are closed, but of which somebody holds a copy, come after other sockets
// got their descriptors.
func TestReusedDescriptors(t *testing.T) {
	t.Parallel()
	var p poll.Poller
	const n = 50
	pairs := func() (servers, peers []net.Conn) {
		for range n {
			server, peer := socketPair(t)
			servers, peers = append(servers, server), append(peers, peer)
		}
		return servers, peers
	}
	oldServers, oldPeers := pairs()
	servers, peers := pairs()
	for _, server := range oldServers {
		f, err := server.(*net.UnixConn).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		h := startOf(t, &p, server, nil)
		h.sock.Close()
		wait(t, "Done", h.done)
	}
	var handlers []*handler
	var said []<-chan string
	for _, server := range servers {
		handlers = append(handlers, startOf(t, &p, server, func(h *handler) { said = append(said, echo(h)) }))
	}
	for _, peer := range oldPeers {
		write(t, peer, []byte("a"))
		peer.Close()
	}
	for i, h := range handlers {
		write(t, peers[i], []byte("b"))
		if got := wait(t, "Ready", said[i]); got != "b" {
			t.Errorf("read %q, want %q", got, "b")
		}
		if h.sock.HungUp() || len(h.hangups) > 0 {
			t.Errorf("HungUp %v and %d Hangups of a socket whose peer is there", h.sock.HungUp(), len(h.hangups))
		}
	}
	for i, h := range handlers {
		peers[i].Close()
		wait(t, "Done", h.done)
	}
	wait(t, "Halt", halt(&p))
}

// TestReusedDescriptorsInARace closes sockets while their peers hang up, and has other sockets get their descriptors.
func TestReusedDescriptorsInARace(t *testing.T) {
	t.Parallel()
	var p poll.Poller
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range often(500) {
				server, peer := rawSocketPair(t)
				old := startOf(t, &p, server, nil)
				// The hang-up is an event, which may be handled after our Close.
				group.Go(func() { peer.Close() })
				old.sock.Close()
				server, next := rawSocketPair(t)
				h := startOf(t, &p, server, nil)
				wait(t, "Done", old.done)
				yields()
				if h.sock.HungUp() || len(h.hangups) > 0 {
					t.Errorf("HungUp %v and %d Hangups of a socket whose peer is there", h.sock.HungUp(), len(h.hangups))
				}
				h.sock.Close()
				wait(t, "Done", h.done)
				next.Close()
			}
		})
	}
	group.Wait()
	wait(t, "Halt", halt(&p))
}
