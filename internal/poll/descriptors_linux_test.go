package poll_test

// Descriptors: closed once, never another socket's, and what happens without any.

import (
	"os"
	"testing"
)

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
