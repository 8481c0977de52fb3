package link_test

// The cost of a message on its way through a link, over a pair of sockets.

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// sizes are of messages: the last one does not fit into a read buffer.
var sizes = []int{128, 4 << 10, 128 << 10}

// drain reads until the connection ends. It closes done then.
func drain(nc net.Conn) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, nc)
	}()
	return done
}

func BenchmarkSend(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			benchmarkSend(b, link.Negotiation{}, bytes.Repeat([]byte("a"), size))
		})
	}
	b.Run("compressed=4096", func(b *testing.B) {
		benchmarkSend(b, link.Negotiation{Compression: true}, bytes.Repeat([]byte("hello, world. "), 4096/14))
	})
}

func benchmarkSend(b *testing.B, neg link.Negotiation, p []byte) {
	server, peer := overTCP(b, 1<<20)
	cfg := usual()
	cfg.SendQueue = 4 << 20
	o, _ := connect(b, server, peer, cfg, neg, nil)
	done := drain(peer)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Send(wire.Fin|wire.Text, p, true); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	o.Cut()
	<-done
}

func BenchmarkReceive(b *testing.B) {
	receive := func(name string, neg link.Negotiation, message []byte) {
		for _, reuse := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/reuse=%v", name, reuse), func(b *testing.B) {
				server, peer := overTCP(b, 1<<20)
				cfg := usual()
				cfg.Reuse = reuse
				got := make(chan struct{})
				var left atomic.Int64
				_, f := connect(b, server, peer, cfg, neg, func(*owner, link.Message) {
					if left.Add(-1) == 0 {
						got <- struct{}{}
					}
				})
				benchmarkReceive(b, f, message, &left, got)
			})
		}
	}
	for _, size := range sizes {
		receive(fmt.Sprintf("bytes=%d", size), link.Negotiation{}, masked(wire.Fin|wire.Text, bytes.Repeat([]byte("a"), size)))
	}
	p := bytes.Repeat([]byte("hello, world. "), 4096/14)
	receive("compressed=4096", link.Negotiation{Compression: true}, masked(wire.Fin|wire.Text|wire.RSV1, wire.AppendDeflated(nil, p)))
	receive("fragments=4096", link.Negotiation{}, append(masked(wire.Text, p[:1000]), masked(wire.Fin, p[1000:])...))
}

// benchmarkReceive sends messages in batches, as a busy peer does, and waits for each batch's last.
func benchmarkReceive(b *testing.B, f *far, message []byte, left *atomic.Int64, got chan struct{}) {
	batch := max(1, 64<<10/len(message))
	frames := bytes.Repeat(message, batch)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	b.ResetTimer()
	for n := b.N; n > 0; n -= batch {
		left.Store(int64(min(n, batch)))
		f.send(frames[:len(message)*min(n, batch)])
		<-got
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range sizes {
		for _, inFlight := range []int{1, 16} {
			b.Run(fmt.Sprintf("bytes=%d/inflight=%d", size, inFlight), func(b *testing.B) {
				server, peer := overTCP(b, 1<<20)
				cfg := usual()
				cfg.Reuse = true
				_, f := connect(b, server, peer, cfg, link.Negotiation{}, func(o *owner, m link.Message) {
					if err := o.Send(first(m), m.Data, false); err != nil {
						b.Errorf("Send: %v", err)
					}
				})
				p := bytes.Repeat([]byte("a"), size)
				requests := bytes.Repeat(masked(wire.Fin|wire.Text, p), inFlight)
				replies := make([]byte, wire.FrameSize(size)*inFlight)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += inFlight {
					f.send(requests)
					if _, err := io.ReadFull(f.br, replies); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if h, n := wire.Parse(replies); h.Length != uint64(size) || !bytes.Equal(replies[n:n+size], p) {
					b.Errorf("the first reply has a header of %+v, or not the request's bytes", h)
				}
			})
		}
	}
}
