package hailtest_test

// The pipe against the promises of a net.Conn, in the spirit of golang.org/x/net/nettest, and against TCP.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/hailtest"
)

var past = time.Unix(1, 0)

func TestPipeCopies(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"default": 0, "one byte": 1, "small": 100, "large": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := hailtest.Pipe(size)
			want := make([]byte, 256<<10)
			for i := range want {
				want[i] = byte(rand.Uint32())
			}
			if size == 1 {
				want = want[:4096]
			}
			var wg sync.WaitGroup
			for _, ends := range [][2]*hailtest.PipeConn{{client, server}, {server, client}} {
				wg.Go(func() {
					if n, err := ends[0].Write(want); n != len(want) || err != nil {
						t.Errorf("Write: got %d, %v, want %d bytes written", n, err, len(want))
					}
					ends[0].CloseWrite()
				})
				wg.Go(func() {
					got, err := io.ReadAll(ends[1])
					if !bytes.Equal(got, want) || err != nil {
						t.Errorf("ReadAll: got %d bytes, %v, want the %d written", len(got), err, len(want))
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestPipeBuffers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := hailtest.Pipe(10)
		if n, err := client.Write(make([]byte, 10)); n != 10 || err != nil {
			t.Fatalf("Write of as much as fits: got %d, %v", n, err)
		}
		wrote := make(chan int)
		go func() {
			n, _ := client.Write(make([]byte, 5))
			wrote <- n
		}()
		synctest.Wait()
		select {
		case n := <-wrote:
			t.Fatalf("Write into a full buffer returned %d, want it to wait", n)
		default:
		}
		// Room for 4 of the 5.
		if n, err := server.Read(make([]byte, 4)); n != 4 || err != nil {
			t.Fatalf("Read: got %d, %v, want 4 bytes", n, err)
		}
		synctest.Wait()
		select {
		case n := <-wrote:
			t.Fatalf("Write with a byte left returned %d, want it to wait", n)
		default:
		}
		if n, err := server.Read(make([]byte, 100)); n != 10 || err != nil {
			t.Fatalf("Read: got %d, %v, want 10 bytes", n, err)
		}
		if n := <-wrote; n != 5 {
			t.Errorf("Write: got %d, want 5", n)
		}
	})
}

func TestPipeWritesAreWhole(t *testing.T) {
	t.Parallel()
	client, server := hailtest.Pipe(1)
	const writers, size = 8, 1000
	var wg sync.WaitGroup
	for c := range byte(writers) {
		wg.Go(func() { client.Write(bytes.Repeat([]byte{'a' + c}, size)) })
	}
	got := make([]byte, writers*size)
	if _, err := io.ReadFull(server, got); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for write := range slices.Chunk(got, size) {
		if want := bytes.Repeat(write[:1], size); !bytes.Equal(write, want) {
			t.Fatalf("got writes mixed: %s", write)
		}
	}
}

func TestPipeDeadlines(t *testing.T) {
	t.Parallel()
	// full returns a pipe whose client can neither read nor write.
	full := func() *hailtest.PipeConn {
		client, _ := hailtest.Pipe(1)
		client.Write([]byte("x"))
		return client
	}
	ops := map[string]func(*hailtest.PipeConn) (int, error){
		"read":  func(c *hailtest.PipeConn) (int, error) { return c.Read(make([]byte, 1)) },
		"write": func(c *hailtest.PipeConn) (int, error) { return c.Write(make([]byte, 1)) },
	}
	for name, op := range ops {
		bubble := func(name string, test func(t *testing.T, c *hailtest.PipeConn)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { test(t, full()) })
			})
		}
		expires := func(t *testing.T, c *hailtest.PipeConn, after time.Duration) {
			t.Helper()
			start := time.Now()
			_, err := op(c)
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got error %v, want os.ErrDeadlineExceeded", err)
			}
			if got := time.Since(start); got != after {
				t.Errorf("got it after %v, want %v", got, after)
			}
		}
		bubble(name+"/past", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetDeadline(past)
			expires(t, c, 0)
			expires(t, c, 0)
		})
		bubble(name+"/future", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetDeadline(time.Now().Add(time.Minute))
			expires(t, c, time.Minute)
		})
		bubble(name+"/wall clock", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetDeadline(time.Now().Add(time.Minute).Round(0))
			expires(t, c, time.Minute)
		})
		bubble(name+"/moved", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetDeadline(time.Now().Add(time.Minute))
			c.SetDeadline(time.Now().Add(time.Hour))
			expires(t, c, time.Hour)
		})
		bubble(name+"/while waiting", func(t *testing.T, c *hailtest.PipeConn) {
			go func() {
				synctest.Wait()
				c.SetDeadline(past)
			}()
			expires(t, c, 0)
		})
		bubble(name+"/lifted", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetDeadline(past)
			c.SetDeadline(time.Time{})
			time.AfterFunc(time.Hour, func() { c.Close() })
			if _, err := op(c); !errors.Is(err, net.ErrClosed) {
				t.Errorf("got error %v, want net.ErrClosed", err)
			}
		})
		bubble(name+"/of its own", func(t *testing.T, c *hailtest.PipeConn) {
			c.SetReadDeadline(time.Now().Add(map[string]time.Duration{"read": 1, "write": 2}[name]))
			c.SetWriteDeadline(time.Now().Add(map[string]time.Duration{"read": 2, "write": 1}[name]))
			expires(t, c, 1)
		})
	}
}

func TestPipeWriteDeadlineKeepsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := hailtest.Pipe(4)
		client.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := client.Write([]byte("abcdefgh"))
		if n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: got %d, %v, want 4 and os.ErrDeadlineExceeded", n, err)
		}
		client.Close()
		if got, err := io.ReadAll(server); string(got) != "abcd" || err != nil {
			t.Errorf("ReadAll: got %q, %v, want abcd", got, err)
		}
	})
}

// TestPipeEnds checks the results of both ends' calls after the client has ended the pipe: of calls that
// waited, and of later calls.
func TestPipeEnds(t *testing.T) {
	t.Parallel()
	const open = "open" // the call waits on
	for name, test := range map[string]struct {
		end  func(client *hailtest.PipeConn) error
		want map[string]any
	}{
		"Close": {(*hailtest.PipeConn).Close, map[string]any{
			"client read": net.ErrClosed, "client write": net.ErrClosed,
			"server read": io.EOF, "server write": syscall.EPIPE,
		}},
		"CloseWrite": {(*hailtest.PipeConn).CloseWrite, map[string]any{
			"client read": open, "client write": net.ErrClosed,
			"server read": io.EOF, "server write": open,
		}},
		"Reset": {(*hailtest.PipeConn).Reset, map[string]any{
			"client read": net.ErrClosed, "client write": net.ErrClosed,
			"server read": syscall.ECONNRESET, "server write": syscall.ECONNRESET,
		}},
	} {
		for call, want := range test.want {
			for _, waits := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/waits=%t", name, call, waits), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						var got error
						client, start := pipeCall(call)
						if waits {
							start(&got)
							synctest.Wait()
						}
						if err := test.end(client); err != nil {
							t.Errorf("got error %v from the end itself", err)
						}
						if !waits {
							start(&got)
						}
						synctest.Wait()
						if wantErr, ok := want.(error); ok != (got != nil) || !errors.Is(got, wantErr) {
							t.Errorf("got %v, want %v", got, want)
						}
						client.Close()
					})
				})
			}
		}
	}
}

// TestPipeResetIsAtOnce has both ends read and write while one resets the pipe: neither may see a part of the reset.
func TestPipeResetIsAtOnce(t *testing.T) {
	t.Parallel()
	for range 20_000 {
		client, server := hailtest.Pipe(16)
		client.Write([]byte("lost"))
		var own, write, read error
		var ends sync.WaitGroup
		ends.Go(func() { // ends with the reset
			for own == nil {
				_, own = client.Read(make([]byte, 1))
			}
		})
		ends.Go(func() { // ends with the reset
			for write == nil {
				_, write = server.Write([]byte("x"))
			}
			_, read = server.Read(make([]byte, 1))
		})
		if err := client.Reset(); err != nil {
			t.Errorf("Reset: got %v, want nil", err)
		}
		ends.Wait()
		if !errors.Is(own, net.ErrClosed) {
			t.Fatalf("read of the end that resets: got %v, want net.ErrClosed", own)
		}
		if !errors.Is(write, syscall.ECONNRESET) || !errors.Is(read, syscall.ECONNRESET) {
			t.Fatalf("other end: got %v from Write, then %v from Read, want ECONNRESET", write, read)
		}
	}
}

// pipeCall returns the client's end of a pipe on which the call has to wait, and a function that starts
// the call on a goroutine of its own.
func pipeCall(call string) (client *hailtest.PipeConn, start func(*error)) {
	client, server := hailtest.Pipe(1)
	end := map[string]*hailtest.PipeConn{"client": client, "server": server}[call[:6]]
	do := end.Read
	if call[7:] == "write" {
		end.Write([]byte("x"))
		do = end.Write
	}
	return client, func(err *error) {
		go func() { _, *err = do(make([]byte, 1)) }()
	}
}

func TestPipeCloseKeepsWhatIsBuffered(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hailtest.PipeConn) error{
		"Close": (*hailtest.PipeConn).Close, "CloseWrite": (*hailtest.PipeConn).CloseWrite,
	} {
		client, server := hailtest.Pipe(0)
		client.Write([]byte("last"))
		end(client)
		if got, err := io.ReadAll(server); string(got) != "last" || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, "last")
		}
	}
}

func TestPipeResetLosesWhatIsBuffered(t *testing.T) {
	t.Parallel()
	client, server := hailtest.Pipe(0)
	client.Write([]byte("lost"))
	client.Reset()
	if n, err := server.Read(make([]byte, 4)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read: got %d bytes, %v, want ECONNRESET", n, err)
	}
}

func TestPipeClosed(t *testing.T) {
	t.Parallel()
	client, _ := hailtest.Pipe(0)
	if err := client.Close(); err != nil {
		t.Errorf("first Close: got %v, want nil", err)
	}
	for name, err := range map[string]error{
		"Close":            client.Close(),
		"CloseWrite":       client.CloseWrite(),
		"SetDeadline":      client.SetDeadline(time.Now()),
		"SetReadDeadline":  client.SetReadDeadline(time.Now()),
		"SetWriteDeadline": client.SetWriteDeadline(time.Now()),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: got %v, want net.ErrClosed", name, err)
		}
	}
}

func TestPipeEmptyCalls(t *testing.T) {
	t.Parallel()
	client, server := hailtest.Pipe(0)
	if n, err := client.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil): got %d, %v, want 0, nil", n, err)
	}
	if n, err := client.Write(nil); n != 0 || err != nil {
		t.Errorf("Write(nil): got %d, %v, want 0, nil", n, err)
	}
	server.Close()
	if _, err := client.Write(nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write(nil) after the other end's Close: got %v, want EPIPE", err)
	}
}

func TestPipeErrors(t *testing.T) {
	t.Parallel()
	client, server := hailtest.Pipe(0)
	server.Reset()
	_, err := client.Read(make([]byte, 1))
	want := "read pipe 127.0.0.1:49152->127.0.0.1:80: read: connection reset by peer"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if got := client.RemoteAddr().String(); got != server.LocalAddr().String() {
		t.Errorf("got remote address %s, want %s", got, server.LocalAddr())
	}
}

// TestPipeMethodsTogether calls all methods at once, for the race detector.
func TestPipeMethodsTogether(t *testing.T) {
	t.Parallel()
	client, server := hailtest.Pipe(16)
	var wg sync.WaitGroup
	for range 50 {
		for _, c := range []*hailtest.PipeConn{client, server} {
			c.SetDeadline(time.Now().Add(20 * time.Millisecond))
			wg.Go(func() { c.Read(make([]byte, 10)) })
			wg.Go(func() { c.Write(make([]byte, 10)) })
			wg.Go(func() { c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) })
			wg.Go(func() { c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)) })
			wg.Go(func() { c.LocalAddr() })
			wg.Go(func() { c.RemoteAddr() })
		}
	}
	wg.Wait()
	client.Close()
	server.Close()
}
