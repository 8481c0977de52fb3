package hostile_test

// Peers that send a byte now and then.

import (
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// TestHandshakesThatTrickle checks that net/http ends them, by ReadHeaderTimeout: the server must not see them.
func TestHandshakesThatTrickle(t *testing.T) {
	const (
		conns    = 100 / scale
		timeout  = time.Second / 2
		heapEach = 24 << 10 // net/http's two buffers, and the bytes it has read
	)
	s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: s, ReadHeaderTimeout: timeout, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() { // ends with hs.Close; waited for below
		defer close(served)
		hs.Serve(ln)
	}()
	bounds{conns * heapEach, conns + 2, 10 * timeout}.hold(t, func(look func(func() bool)) {
		ncs := make([]net.Conn, conns)
		for i := range ncs {
			if ncs[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
				t.Fatal(err)
			}
			defer ncs[i].Close()
			io.WriteString(ncs[i], "GET / HTTP/1.1\r\nHost: example.com\r\n")
		}
		look(nil) // ReadHeaderTimeout is no sooner
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for open := conns; open > 0; {
			<-tick.C
			open = 0
			for _, nc := range ncs {
				if _, err := io.WriteString(nc, "X"); err == nil {
					open++
				}
			}
		}
	})
	if st := s.Stats(); st.Accepted != 0 || st.Refused != 0 {
		t.Errorf("the server has accepted %d and refused %d requests, want none", st.Accepted, st.Refused)
	}
	hs.Close()
	<-served
}

func TestMessagesThatTrickle(t *testing.T) {
	kit.Long(t)
	const (
		conns          = 100 / scale
		messageTimeout = 400 * time.Millisecond
		closeTimeout   = 100 * time.Millisecond
		// The read buffer, and the buffer that collects a message.
		heapEach = 10 << 10
	)
	long := make([]byte, 1000)
	for name, sent := range map[string][]byte{
		"in one frame":  frame(true, hailtest.OpBinary, long),
		"in its header": frame(true, hailtest.OpBinary, long)[:7],
		"in parts":      append(frame(false, hailtest.OpBinary, nil), frame(true, hailtest.OpContinuation, long)...),
		"compressed":    deflated(long),
		"between pings": append(frame(false, hailtest.OpBinary, nil), repeat(frame(true, hailtest.OpPing, nil), 200)...),
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				tg := serve(t, kind, hail.Handler{}, hail.Options{Compression: true, MessageTimeout: messageTimeout, CloseTimeout: closeTimeout})
				clients := tg.crowd(t, conns, deflates)
				goroutines := 2
				if kind != "epoll" {
					goroutines = conns // to close
				}
				bounds{conns * heapEach, goroutines, 10*messageTimeout + closeTimeout}.hold(t, func(look func(func() bool)) {
					tick := time.NewTicker(20 * time.Millisecond)
					defer tick.Stop()
					// The last byte is not sent: the message never becomes whole.
					for i := range len(sent) - 1 {
						for _, c := range clients {
							c.write(sent[i : i+1])
						}
						if i == min(3, len(sent)-2) {
							look(tg.stands)
						}
						if len(tg.closed) == conns {
							break
						}
						<-tick.C
					}
					tg.ends(t, conns, hail.CauseMessageTimeout)
				})
			})
		}
	}
}
