package link_test

// Pings and pongs go before data that waits, at a frame's boundary, and do not starve it.

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// TestControlGoesFirst reads in odd sizes, with pings between the reads: wherever the write stands, they
// come at a frame's boundary, and the data in order.
func TestControlGoesFirst(t *testing.T) {
	t.Parallel()
	for _, pipe := range []int{1, 7, 100, 1000, 5000} {
		t.Run(fmt.Sprintf("pipe=%d", pipe), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, peer := memory(t, pipe)
				o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				sizes := []int{0, 1, 117, 118, 119, 300, 1000, 3000}
				count, total := 0, 0
				for round := 0; total < 20*max(pipe, 2000); round++ {
					size := sizes[round%len(sizes)]
					if err := o.Send(wire.Fin|wire.Binary, numbered(0, count, size), false); err != nil {
						t.Fatalf("Send: %v", err)
					}
					count++
					total += wire.FrameSize(8 + size)
				}
				stream, pings := readOddly(t, o, f, total/2)
				checkPinged(t, parse(t, stream), count, pings)
			})
		})
	}
}

// readOddly reads all that comes, in odd sizes. Before each read of the first half, the link pings; after that it closes, and
// ends its sending direction, as for a peer whose close frame could not be found.
func readOddly(t *testing.T, o *owner, f *far, half int) (stream []byte, pings int) {
	odd := []int{1, 2, 3, 5, 7, 11, 126, 129, 509, 1021, 4099}
	buf := make([]byte, 5000)
	for i := 0; ; i++ {
		synctest.Wait()
		if len(stream) < half {
			o.Ping()
			pings++
			synctest.Wait()
		} else if o.code() == 0 {
			o.violate(life.Lose, link.CloseFrame{Code: 1000})
		}
		n, err := f.nc.Read(buf[:odd[i%len(odd)]])
		if err == io.EOF {
			return stream, pings
		}
		if err != nil {
			t.Fatalf("read: %v after %d bytes", err, len(stream))
		}
		stream = append(stream, buf[:n]...)
	}
}

// checkPinged wants count messages, with pings ahead of some, and the close frame.
func checkPinged(t *testing.T, all []got, count, pings int) {
	next, seen, last := 0, 0, 0
	for _, g := range all[:len(all)-1] {
		switch {
		case g == got{wire.Fin | wire.Ping, ""}:
			seen++
			last = next
		case g.control():
			t.Errorf("frame %v, want only pings and data", g)
		default:
			if _, seq := checkNumbered(t, g.data); seq != next {
				t.Fatalf("message %d, want %d", seq, next)
			}
			next++
		}
	}
	// Of more pings than fit in their queue, old ones are dropped.
	if next != count || seen != pings && pings < 2000 || seen == 0 || seen > pings {
		t.Errorf("%d messages and %d pings, want %d and %d", next, seen, count, pings)
	}
	if g := all[len(all)-1]; g != (got{wire.Fin | wire.Close, "\x03\xe8"}) {
		t.Errorf("the last frame is %v, want the close frame", g)
	}
	if last >= count {
		t.Errorf("the last ping comes after all %d messages, want it ahead of some", count)
	}
}

func TestControlGoesAtTheNextBoundary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 100)
		o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		o.Send(wire.Fin|wire.Binary, numbered(0, 0, 10_000), false) // in more than one write
		for seq := 1; seq < 20; seq++ {
			o.Send(wire.Fin|wire.Binary, numbered(0, seq, 500), false)
		}
		synctest.Wait()
		o.Ping()
		o.Ping()
		for i, want := range []byte{wire.Binary, wire.Ping, wire.Ping, wire.Binary, wire.Binary} {
			if h, _, err := f.frame(); h.Opcode() != want || err != nil {
				t.Errorf("frame %d has opcode %#x, %v, want %#x", i, h.Opcode(), err, want)
			}
		}
	})
}

func TestControlGoesFirstOverTCP(t *testing.T) {
	t.Parallel()
	server, peer := overTCP(t, 16<<10)
	o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
	const count = 4000
	for seq := range count {
		o.Send(wire.Fin|wire.Binary, numbered(0, seq, 1000+seq%7), false)
	}
	o.Ping()
	o.Close(link.CloseFrame{Code: 1000})
	next, at := 0, -1
	for _, g := range f.until() {
		switch {
		case g.first == wire.Fin|wire.Ping:
			at = next
		case !g.control():
			if _, seq := checkNumbered(t, g.data); seq != next {
				t.Fatalf("message %d, want %d", seq, next)
			}
			next++
		}
	}
	if next != count || at < 0 || at > count/2 {
		t.Errorf("%d messages, the ping after %d, want %d, and it ahead of half of them", next, at, count)
	}
}

const floodPings = 5000

func floodPing(i int) []byte { return fmt.Appendf(nil, "%0125d", i) }

// checkPongs wants answers to some of the pings, in order, the last one's last, and of at most so many bytes.
func checkPongs(t *testing.T, all []got, most int) {
	t.Helper()
	last, bytes := -1, 0
	for _, g := range all {
		if g.first != wire.Fin|wire.Pong {
			continue
		}
		var i int
		if _, err := fmt.Sscanf(strings.TrimLeft(g.data, "0")+" ", "%d", &i); err != nil {
			i = 0
		}
		if g.data != string(floodPing(i)) || i <= last {
			t.Fatalf("pong %v after that for ping %d", g, last)
		}
		last = i
		bytes += wire.FrameSize(len(g.data))
	}
	if last != floodPings-1 {
		t.Errorf("the last pong is for ping %d, want %d", last, floodPings-1)
	}
	if bytes > most {
		t.Errorf("pongs of %d bytes for a peer that does not read, want at most %d", bytes, most)
	}
}

func TestPingFlood(t *testing.T) {
	t.Parallel()
	for _, data := range []bool{false, true} {
		t.Run(fmt.Sprintf("after data=%v", data), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const pipe = 2000
				server, peer := memory(t, pipe)
				o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				if data {
					o.Send(wire.Fin|wire.Binary, numbered(0, 0, 50_000), false)
				}
				sent := 0
				for i := range floodPings {
					b := masked(wire.Fin|wire.Ping, floodPing(i))
					f.send(b)
					sent += len(b)
				}
				synctest.Wait()
				if got := o.traffic.In.Load(); got != uint64(sent) {
					t.Errorf("%d bytes were read, want all %d", got, sent)
				}
				o.Close(link.CloseFrame{Code: 1000})
				// The pipe, the bytes that are being written, and the queue.
				checkPongs(t, f.until(), pipe+2*(4<<10+127))
				<-o.done
			})
		})
	}
}

func TestPingFloodOverTCP(t *testing.T) {
	t.Parallel()
	server, peer := overTCP(t, 8<<10)
	o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
	o.Send(wire.Fin|wire.Binary, numbered(0, 0, 4<<20), false)
	for i := range floodPings {
		f.send(masked(wire.Fin|wire.Ping, floodPing(i)))
	}
	f.send(masked(wire.Fin|wire.Close, []byte{3, 0xe8}))
	var all []got
	for {
		h, p, err := f.frame()
		if err != nil {
			break
		}
		all = append(all, newGot(h, p))
	}
	checkPongs(t, all, 300<<10)
	<-o.done
}

// TestPingsDoNotStarveData floods while it reads: between the pongs the data goes on.
func TestPingsDoNotStarveData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 1000)
		o, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		const count, rounds = 100, 1000
		for seq := range count {
			o.Send(wire.Fin|wire.Binary, numbered(0, seq, 1000), false)
		}
		flood := bytes.Repeat(masked(wire.Fin|wire.Ping, make([]byte, 125)), 40)
		next := 0
		for round := 0; next < count && round < rounds; round++ {
			f.send(flood)
			synctest.Wait()
			for read := 0; read < 4096 && next < count; {
				h, p, err := f.frame()
				if err != nil {
					t.Fatalf("frame: %v", err)
				}
				read += wire.FrameSize(len(p))
				if h.Opcode() == wire.Pong {
					continue
				}
				if _, seq := checkNumbered(t, string(p)); seq != next {
					t.Fatalf("message %d, want %d", seq, next)
				}
				next++
			}
		}
		if next != count {
			t.Errorf("%d messages came in %d rounds of pings, want all %d", next, rounds, count)
		}
	})
}

// TestPingsAmidFramesTakeNoMemory has a ping answered each time that a frame is written in part.
func TestPingsAmidFramesTakeNoMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, f, st := stepwise(t, usual())
		const count, size = 100, 120
		message := numbered(0, 0, 100)
		frame, pong := wire.FrameSize(len(message)), wire.FrameSize(size)
		for range count {
			o.Send(wire.Fin|wire.Binary, message, false)
		}
		st.grant(frame, frame) // alone; the others are written together
		st.grant(frame/2, frame/2)
		largest := 0
		for range count - 3 {
			pinged(f, size)
			st.grant(frame+pong, frame+pong)
			largest = max(largest, o.Writing())
		}
		if most := count*frame + 2*pong; largest > most {
			t.Errorf("%d bytes are held for %d of own frames, want %d at the most", largest, count*frame, most)
		}
		o.Close(link.CloseFrame{Code: 1000})
		st.finish(1 << 10)
		if got := texts(f.until()); len(got) != count {
			t.Errorf("got %d messages, want %d", len(got), count)
		}
	})
}
