package link_test

// Replies to frames that arrive together go out together.

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// counted counts the writes of a transport.
type counted struct {
	net.Conn
	writes atomic.Int32
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// inBatch runs a test of a link in memory in a bubble. Its writes from then on are counted.
func inBatch(t *testing.T, message func(*owner, link.Message), test func(*testing.T, *owner, *far, *counted)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 0)
		counting := &counted{Conn: server}
		o, f := connect(t, counting, peer, usual(), link.Negotiation{}, message)
		counting.writes.Store(0)
		test(t, o, f, counting)
	})
}

func echo(o *owner, m link.Message) { o.Send(first(m), m.Data, true) }

// slowEcho is a callback that lasts 10 ms.
func slowEcho(o *owner, m link.Message) {
	echo(o, m)
	time.Sleep(10 * time.Millisecond)
}

func isPing(text string) bool { return strings.HasPrefix(text, "ping") }

// batch is frames for each text, for one write of the peer. A text that begins with "ping" is a ping.
func batch(texts ...string) (b []byte) {
	for _, text := range texts {
		first := byte(wire.Fin | wire.Text)
		if isPing(text) {
			first = wire.Fin | wire.Ping
		}
		b = append(b, masked(first, []byte(text))...)
	}
	return b
}

func TestBatchIsOneWrite(t *testing.T) {
	for name, texts := range map[string][]string{
		"one":        {"a"},
		"ten":        strings.Split("0123456789", ""),
		"pings":      {"ping 1", "ping 2", "ping 3"},
		"mixed":      {"a", "ping 1", "b", "ping 2", "c"},
		"ping first": {"ping 1", "a", "b"},
		"ping last":  {"a", "b", "ping 1"},
	} {
		t.Run(name, func(t *testing.T) {
			inBatch(t, echo, func(t *testing.T, o *owner, f *far, counting *counted) {
				f.send(batch(texts...))
				synctest.Wait()
				if got := counting.writes.Load(); got != 1 {
					t.Errorf("%d writes, want 1", got)
				}
				o.Close(link.CloseFrame{Code: 1000})
				var data, pongs []string
				for _, g := range f.until() {
					switch g.first {
					case wire.Fin | wire.Text:
						data = append(data, g.data)
					case wire.Fin | wire.Pong:
						pongs = append(pongs, g.data)
					}
				}
				wantData := slices.DeleteFunc(slices.Clone(texts), isPing)
				wantPongs := slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return !isPing(s) })
				if !slices.Equal(data, wantData) || !slices.Equal(pongs, wantPongs) {
					t.Errorf("replies %q and pongs %q, want %q and %q", data, pongs, wantData, wantPongs)
				}
			})
		})
	}
	t.Run("the last without a reply", func(t *testing.T) {
		quiet := func(o *owner, m link.Message) {
			if string(m.Data) != "quiet" {
				echo(o, m)
			}
		}
		inBatch(t, quiet, func(t *testing.T, _ *owner, f *far, counting *counted) {
			start := time.Now()
			f.send(batch("a", "b", "quiet"))
			for _, want := range []string{"a", "b"} {
				if _, p, err := f.frame(); string(p) != want || err != nil {
					t.Errorf("reply %q, %v, want %q", p, err, want)
				}
			}
			if got, late := counting.writes.Load(), time.Since(start); got != 1 || late != 0 {
				t.Errorf("%d writes after %v, want 1 at once", got, late)
			}
		})
	})
}

func TestBatchIsNotHeldForLong(t *testing.T) {
	t.Run("at most a millisecond", func(t *testing.T) {
		inBatch(t, slowEcho, func(t *testing.T, _ *owner, f *far, _ *counted) {
			start := time.Now()
			f.send(batch("a", "b", "c"))
			for i, want := range []time.Duration{1, 11, 20} {
				_, _, err := f.frame()
				if got := time.Since(start); got != want*time.Millisecond || err != nil {
					t.Errorf("reply %d after %v, %v, want %v", i, got, err, want*time.Millisecond)
				}
			}
		})
	})
	t.Run("of others too", func(t *testing.T) {
		nothing := func(*owner, link.Message) { time.Sleep(10 * time.Millisecond) }
		inBatch(t, nothing, func(t *testing.T, o *owner, f *far, _ *counted) {
			start := time.Now()
			f.send(batch("a", "b"))
			synctest.Wait()
			o.Send(wire.Fin|wire.Text, []byte("from outside"), true)
			_, p, err := f.frame()
			if got := time.Since(start); got > time.Millisecond || string(p) != "from outside" || err != nil {
				t.Errorf("%q, %v after %v, want it within a millisecond", p, err, got)
			}
		})
	})
	t.Run("alone not at all", func(t *testing.T) {
		inBatch(t, slowEcho, func(t *testing.T, _ *owner, f *far, _ *counted) {
			start := time.Now()
			f.send(batch("a"))
			_, _, err := f.frame()
			if got := time.Since(start); got != 0 || err != nil {
				t.Errorf("reply after %v, %v, want it at once", got, err)
			}
		})
	})
}

func TestCloseWithinABatch(t *testing.T) {
	closing := func(o *owner, m link.Message) {
		echo(o, m)
		if string(m.Data) == "b" {
			o.Close(link.CloseFrame{Code: 1000})
		}
	}
	inBatch(t, closing, func(t *testing.T, o *owner, f *far, _ *counted) {
		f.send(batch("a", "b", "c", "d"))
		var all []string
		for _, g := range f.until() {
			all = append(all, g.data)
		}
		if want := []string{"a", "b", "\x03\xe8"}; !slices.Equal(all, want) {
			t.Errorf("the peer reads %q, want %q", all, want)
		}
		<-o.done
		if got := o.Undelivered(); got != 0 {
			t.Errorf("Undelivered = %d, want 0", got)
		}
	})
}

// TestBatchBeyondTheQueue has more replies than the queue holds.
func TestBatchBeyondTheQueue(t *testing.T) {
	t.Parallel()
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, peer := transport(t, 64<<10)
			cfg := usual()
			cfg.SendQueue = 100
			errs := make(chan error, 40)
			// TCP accepts held replies at once; Send has to wait for memory.
			wait := name == "memory"
			_, f := connect(t, server, peer, cfg, link.Negotiation{}, func(o *owner, m link.Message) {
				errs <- o.Send(first(m), bytes.Repeat(m.Data, 40), wait)
			})
			f.send(batch(strings.Split(strings.Repeat("x", 40), "")...))
			for i := range 40 {
				_, p, err := f.frame()
				if len(p) != 40 || err != nil {
					t.Fatalf("reply %d: %d bytes, %v, want 40", i, len(p), err)
				}
				if err := <-errs; err != nil {
					t.Fatalf("Send %d: %v", i, err)
				}
			}
		})
	}
}
