package hailtest_test

// How peers end, vanish and close.

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"github.com/coder/websocket"
)

// TestPeerVanishStopsReading has a server write to a peer that has vanished: the pipe fills.
func TestPeerVanishStopsReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := make(chan struct{})
		var wrote int
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-start
			wrote, _ = conn.Write(frame(hailtest.OpBinary, zeros(1<<20)).Bytes())
		})
		p := hailtest.Dial(t, h, "/", hailtest.BufferSize(5000))
		synctest.Wait()
		p.Vanish()
		close(start)
		synctest.Wait()
		p.Reset()
		synctest.Wait()
		if wrote != 5000 {
			t.Errorf("the server wrote %d bytes, want the 5000 that fit into the pipe", wrote)
		}
	})
}

// TestPeerClosesOnce has the server answer the peer's close frame. The peer must not answer that again.
func TestPeerClosesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rest := make(chan []byte, 1)
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			readClientFrame(br)
			conn.Write(frame(hailtest.OpClose, "\x03\xe8").Bytes())
			conn.(*hailtest.PipeConn).CloseWrite()
			b, _ := io.ReadAll(br)
			rest <- b
		})
		p := hailtest.Dial(t, h, "/")
		p.Close(1000, "")
		synctest.Wait()
		p.CloseWrite()
		if got := <-rest; len(got) != 0 {
			t.Errorf("got %q after the peer's close frame, want nothing", got)
		}
	})
}

func TestPeerVanish(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		got := make(chan error, 1)
		vanished := make(chan struct{})
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-vanished
			// Nobody answers the ping and nobody reads the close: only the deadline ends the wait.
			conn.Write(frame(hailtest.OpPing, "").Bytes())
			conn.Write(frame(hailtest.OpClose, "").Bytes())
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, err := br.ReadByte()
			got <- err
		})
		p := hailtest.Dial(t, h, "/", opts...)
		p.Vanish()
		close(vanished)
		var timeout net.Error
		if err := <-got; !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("the server's read: got %v, want a timeout", err)
		}
	})
}

// TestPeerVanishWhileAnswering has the peer vanish while its pong waits for a server that does not read.
func TestPeerVanishWhileAnswering(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			for range 100 {
				conn.Write(frame(hailtest.OpPing, zeros(100)).Bytes())
			}
			<-time.After(5 * time.Second)
		})
		p := hailtest.Dial(t, h, "/", hailtest.BufferSize(200))
		synctest.Wait()
		start := time.Now()
		p.Vanish()
		p.Vanish()
		if got := time.Since(start); got != 0 {
			t.Errorf("Vanish took %v, want it not to wait for the server", got)
		}
	})
}

func TestPeerEnds(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		for name, test := range map[string]struct {
			end  func(p *hailtest.Peer)
			want func(err error) bool
		}{
			"Reset":      {(*hailtest.Peer).Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
			"CloseWrite": {(*hailtest.Peer).CloseWrite, func(err error) bool { return err == io.EOF }},
		} {
			got := make(chan error, 1)
			h := hijack("", func(conn net.Conn, br *bufio.Reader) {
				_, err := br.ReadByte()
				got <- err
				conn.Write(frame(hailtest.OpText, "last").Bytes())
			})
			p := hailtest.Dial(t, h, "/", opts...)
			test.end(p)
			if err := <-got; !test.want(err) {
				t.Errorf("%s: the server's read got %v", name, err)
			}
			if name == "CloseWrite" {
				if got := p.Receive(); got.String() != "last" {
					t.Errorf("after CloseWrite: got %q, want %q", got, "last")
				}
			}
			if got := p.WaitClose(); got.Code != 1006 {
				t.Errorf("%s: WaitClose got %v, want code 1006", name, got)
			}
		}
	})
}

func TestRawPeer(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		read := make(chan []byte, 1)
		weird := hailtest.Frame{RSV2: true, Opcode: 0xc, Payload: []byte("?"), Unmasked: true}
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			for _, f := range []hailtest.Frame{weird, frame(hailtest.OpPing, "p"), frame(hailtest.OpText, zeros(70_000)), frame(hailtest.OpText, "dropped"), frame(hailtest.OpClose, "\x0f\xa0bye")} {
				conn.Write(f.Bytes())
			}
			b, _ := io.ReadAll(br)
			read <- b
		})
		p := hailtest.Dial(t, h, "/", append(opts, hailtest.Raw())...)
		for _, want := range []hailtest.Frame{weird, frame(hailtest.OpPing, "p"), frame(hailtest.OpText, zeros(70_000))} {
			if got := p.ReadFrame(); got.String() != want.String() {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		p.CloseWrite()
		if got, want := p.WaitClose(), (hail.CloseError{Code: 4000, Reason: "bye"}); got != want {
			t.Errorf("WaitClose: got %v, want %v", got, want)
		}
		if got := <-read; len(got) != 0 {
			t.Errorf("the server read %q, want no answers", got)
		}
	})
}

func TestRawPeerFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone, quiet := hijack("", nil), sends("")
		for name, test := range map[string]struct {
			h    http.Handler
			use  func(p *hailtest.Peer)
			want string
		}{
			"Receive":             {quiet, func(p *hailtest.Peer) { p.Receive() }, "hailtest: Receive needs a peer without the option Raw"},
			"Stall":               {quiet, (*hailtest.Peer).Stall, "hailtest: Stall needs a peer without the option Raw"},
			"Resume":              {quiet, (*hailtest.Peer).Resume, "hailtest: Resume needs a peer without the option Raw"},
			"ReadSlowly":          {quiet, func(p *hailtest.Peer) { p.ReadSlowly(1, 1) }, "hailtest: ReadSlowly needs a peer without the option Raw"},
			"ReadFrame, EOF":      {gone, func(p *hailtest.Peer) { p.ReadFrame() }, "hailtest: ReadFrame: got EOF, want a frame"},
			"ReadFrame, timeout":  {quiet, func(p *hailtest.Peer) { p.ReadFrame() }, "i/o timeout, want a frame"},
			"ReadFrame, vanished": {quiet, func(p *hailtest.Peer) { p.Vanish(); p.ReadFrame() }, "hailtest: ReadFrame: got the peer has vanished, want a frame"},
			"WaitClose, timeout":  {quiet, func(p *hailtest.Peer) { p.WaitClose() }, "hailtest: WaitClose: got nothing for 10s, want the connection closed"},
		} {
			got := failures(func(tb hailtest.TB) { test.use(hailtest.Dial(tb, test.h, "/", hailtest.Raw())) })
			if len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("%s: got failures %q, want %q", name, got, test.want)
			}
		}
	})
}

// TestPeerSaysGoodbye has a test end without a close: the server reads 1001 and not the end of the stream.
func TestPeerSaysGoodbye(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		got := make(chan error, 1)
		h := serve(func(r *http.Request, c *websocket.Conn) {
			_, _, err := c.Read(r.Context())
			got <- err
		})
		failures(func(tb hailtest.TB) { hailtest.Dial(tb, h, "/", opts...) })
		if err := <-got; websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("the server's read: got %v, want close 1001", err)
		}
	})
}

func TestPeerTimeoutsInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-time.After(time.Hour)
			conn.Write(frame(hailtest.OpText, "late").Bytes())
		})
		p := hailtest.Dial(t, h, "/", hailtest.Timeout(time.Hour+time.Second))
		began := time.Now()
		if got := p.Receive(); got.String() != "late" || time.Since(began) != time.Hour {
			t.Errorf("got %q after %v, want late after 1h", got, time.Since(began))
		}
	})
}
