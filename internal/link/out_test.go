package link_test

// The sending half: what the peer sees of many senders, and what senders see of a slow peer.

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

// side is a link with an owner that drives it as the root package does.
type side struct {
	*link.Conn
	traffic link.Traffic
	clock   *link.Clock
	message func(link.Message) // nil: ignores it
	slow    func(error)        // nil: ignores it
	done    chan struct{}
}

func (s *side) Turn() bool {
	for {
		m, err := s.Next()
		switch e := err.(type) {
		case nil:
			if s.message != nil {
				s.message(m)
			}
		case *link.PeerClose:
			s.CloseWith(link.CloseFrame{Code: e.Code})
		case *link.Violation:
			if !s.CloseWith(link.CloseFrame{Code: e.Code, Reason: e.Reason, Drop: true, Half: e.Lost}) {
				s.Cut()
			}
		default:
			if err == link.ErrAgain {
				return true
			}
			s.Cut()
			return false
		}
	}
}

func (s *side) Hangup(error) {}
func (s *side) Done()        { close(s.done) }

func (s *side) Slow(err error) {
	if s.slow != nil {
		s.slow(err)
	}
}

// far is the peer's end.
type far struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader // for frame
}

// frame reads one frame.
func (f *far) frame() (h wire.Header, payload []byte, err error) {
	var b []byte
	n := 0
	for n == 0 {
		c, err := f.br.ReadByte()
		if err != nil {
			return h, nil, err
		}
		b = append(b, c)
		h, n = wire.Parse(b)
	}
	payload = make([]byte, h.Length)
	_, err = io.ReadFull(f.br, payload)
	return h, payload, err
}

// until reads frames until the connection ends, and returns the whole ones.
func (f *far) until() (got []got) {
	for {
		h, p, err := f.frame()
		if err != nil {
			return got
		}
		got = append(got, newGot(h, p))
		if h.Opcode() == wire.Close {
			f.send(masked(h.First, p))
		}
	}
}

func (f *far) send(b []byte) {
	if _, err := f.nc.Write(b); err != nil {
		f.t.Errorf("peer: %v", err)
	}
}

type got struct {
	first byte
	data  string
}

func newGot(h wire.Header, p []byte) got { return got{h.First, string(p)} }

func (g got) String() string {
	if len(g.data) > 40 {
		return fmt.Sprintf("%#x %.40q... (%d)", g.first, g.data, len(g.data))
	}
	return fmt.Sprintf("%#x %q", g.first, g.data)
}

func (g got) control() bool { return wire.Header{First: g.first}.Control() }

// parse takes a stream of whole frames apart.
func parse(t testing.TB, b []byte) (all []got) {
	t.Helper()
	for at := 0; at < len(b); {
		h, n := wire.Parse(b[at:])
		if n == 0 || h.Length > uint64(len(b)-at-n) || h.Masked {
			t.Errorf("at byte %d of %d: header %+v, want a whole frame of a server", at, len(b), h)
			return all
		}
		all = append(all, newGot(h, b[at+n:][:h.Length]))
		at += n + int(h.Length)
	}
	return all
}

// masked is a frame as a client sends it.
func masked(first byte, payload []byte) []byte {
	const key = 0xa1b2c3d4
	b := wire.AppendHeader(nil, first, len(payload))
	b[1] |= 0x80
	b = binary.LittleEndian.AppendUint32(b, key)
	b = append(b, payload...)
	wire.Mask(b[len(b)-len(payload):], key)
	return b
}

// giveaway is a ResponseWriter that can be hijacked.
type giveaway struct {
	nc     net.Conn
	header http.Header
}

func (g giveaway) Header() http.Header         { return g.header }
func (g giveaway) WriteHeader(int)             {}
func (g giveaway) Write(p []byte) (int, error) { return len(p), nil }
func (g giveaway) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return g.nc, bufio.NewReadWriter(bufio.NewReader(g.nc), bufio.NewWriter(g.nc)), nil
}

// usual is a Config that stands in nobody's way.
func usual() link.Config { return link.Config{ReadLimit: -1, SendQueue: -1, SendWait: -1} }

// connect makes a link of server and starts it. It ends with the test.
func connect(t testing.TB, server, peer net.Conn, cfg link.Config, neg link.Negotiation, message func(*side, link.Message)) (*side, *far) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	if neg.Compression {
		r.Header.Set("Sec-Websocket-Extensions", "permessage-deflate")
	}
	f := &far{t: t, nc: peer, br: bufio.NewReader(peer)}
	answered := make(chan error, 1)
	go func() {
		_, err := http.ReadResponse(f.br, r)
		answered <- err
	}()
	s := &side{clock: new(link.Clock), done: make(chan struct{})}
	if message != nil {
		s.message = func(m link.Message) { message(s, m) }
	}
	s.clock.Tick(time.Hour)
	cfg.Clock, cfg.Poller = s.clock, new(poll.Poller)
	c, err := link.Accept(giveaway{server, make(http.Header)}, r, neg, &cfg)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	if err := <-answered; err != nil || f.br.Buffered() != 0 {
		t.Fatalf("response: %v, and %d bytes behind it", err, f.br.Buffered())
	}
	s.Conn = c
	c.Bind(s, &s.traffic)
	c.Start()
	t.Cleanup(func() {
		c.Cut()
		<-s.done
		peer.Close()
	})
	return s, f
}

// memory returns a connection in memory that buffers size bytes.
func memory(_ testing.TB, size int) (server, peer net.Conn) {
	peer, server = hailtest.Pipe(size)
	return server, peer
}

// overTCP returns one over TCP with buffers of size, but not so small that the kernel's
// own timers (window probes) pace it.
func overTCP(t testing.TB, size int) (server, peer net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	size = max(size, 64<<10)
	for _, nc := range []net.Conn{server, peer} {
		nc.(*net.TCPConn).SetReadBuffer(size)
		nc.(*net.TCPConn).SetWriteBuffer(size)
	}
	peer.SetDeadline(time.Now().Add(30 * time.Second)) // fails a test that would hang
	return server, peer
}

var transports = map[string]func(t testing.TB, size int) (server, peer net.Conn){"memory": memory, "tcp": overTCP}

// numbered is a message that says who sent it, and whose every byte can be checked.
func numbered(sender, seq, size int) []byte {
	p := make([]byte, 8+size)
	binary.BigEndian.PutUint32(p, uint32(sender))
	binary.BigEndian.PutUint32(p[4:], uint32(seq))
	for i := range size {
		p[8+i] = byte(sender*31 + seq*7 + i/3)
	}
	return p
}

// checkNumbered compares with what numbered has made, and returns who sent which.
func checkNumbered(t testing.TB, data string) (sender, seq int) {
	t.Helper()
	if len(data) < 8 {
		t.Fatalf("message %q, want one of 8 bytes or more", data)
	}
	sender = int(binary.BigEndian.Uint32([]byte(data)))
	seq = int(binary.BigEndian.Uint32([]byte(data[4:])))
	if want := numbered(sender, seq, len(data)-8); data != string(want) {
		t.Fatalf("message %d of sender %d has other bytes than were sent", seq, sender)
	}
	return sender, seq
}

func inflated(t testing.TB, data string) string {
	t.Helper()
	b, err := io.ReadAll(flate.NewReader(strings.NewReader(data + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return string(b)
}

func TestManySenders(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 60
	sizes := []int{0, 1, 117, 118, 500, 1500, 5000, 20_000, 65_527, 65_528, 70_000}
	for name, transport := range transports {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/compressed=%v", name, compressed), func(t *testing.T) {
				t.Parallel()
				hailtest.NoLeaks(t)
				server, peer := transport(t, 16<<10)
				cfg := usual()
				cfg.SendQueue = 150_000
				s, f := connect(t, server, peer, cfg, link.Negotiation{Compression: compressed}, nil)
				var wg sync.WaitGroup
				for sender := range senders {
					wg.Go(func() {
						for seq := range each {
							if err := s.Send(first(link.Message{Text: sender%2 == 0}), numbered(sender, seq, sizes[(sender+seq)%len(sizes)]), true); err != nil {
								t.Errorf("sender %d, message %d: %v", sender, seq, err)
								return
							}
							if seq%10 == sender {
								s.Ping()
							}
						}
					})
				}
				go func() {
					wg.Wait()
					s.CloseWith(link.CloseFrame{Code: 1000, Reason: "all"})
				}()
				var next [senders]int
				seen := 0
				for i, g := range f.until() {
					if g.control() {
						continue
					}
					data := g.data
					if g.first&wire.RSV1 != 0 {
						data = inflated(t, data)
						seen++
					}
					sender, seq := checkNumbered(t, data)
					wantFirst := byte(wire.Fin | wire.Binary)
					if sender%2 == 0 {
						wantFirst = wire.Fin | wire.Text
					}
					if first := g.first &^ wire.RSV1; first != wantFirst {
						t.Errorf("frame %d begins with %#x, want %#x", i, first, wantFirst)
					}
					if want := next[sender]; seq != want {
						t.Fatalf("frame %d is message %d of sender %d, want %d", i, seq, sender, want)
					}
					next[sender]++
				}
				for sender, n := range next {
					if n != each {
						t.Errorf("%d messages of sender %d arrived, want %d", n, sender, each)
					}
				}
				if (seen > 0) != compressed {
					t.Errorf("%d messages were compressed, want some: %v", seen, compressed)
				}
				<-s.done
				if got := s.Undelivered(); got != 0 {
					t.Errorf("Undelivered = %d, want 0", got)
				}
			})
		}
	}
}

// stall makes a link in memory whose peer does not read and whose queue has no room for another message of 1000 bytes.
func stall(t *testing.T, cfg link.Config) (s *side, f *far, sent int) {
	t.Helper()
	server, peer := memory(t, 1000)
	s, f = connect(t, server, peer, cfg, link.Negotiation{}, nil)
	for {
		err := s.Send(wire.Fin|wire.Binary, numbered(0, sent, 992), false)
		if err == link.ErrFull {
			synctest.Wait() // the pipe may take a little more
			if err = s.Send(wire.Fin|wire.Binary, numbered(0, sent, 992), false); err == link.ErrFull {
				return s, f, sent
			}
		}
		if err != nil {
			t.Fatalf("Send: %v", err)
		}
		if sent++; sent > 100 {
			t.Fatal("the queue is not full after 100 messages")
		}
	}
}

func TestStalledPeer(t *testing.T) {
	t.Parallel()
	limited := usual()
	limited.SendQueue, limited.SendWait = 10_000, 3*time.Second
	forever := limited
	forever.SendWait = -1
	message := numbered(1, 0, 992)

	bubble := func(name string, cfg link.Config, f func(t *testing.T, s *side, peer *far, sent int)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, peer, sent := stall(t, cfg)
				f(t, s, peer, sent)
			})
		})
	}
	// sending starts a Send that has to wait.
	sending := func(t *testing.T, s *side) <-chan error {
		result := make(chan error, 1)
		go func() { result <- s.Send(wire.Fin|wire.Binary, message, true) }()
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("Send = %v at once, want it to wait", err)
		default:
		}
		return result
	}
	wantErr := func(t *testing.T, what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s = %v, want %v", what, got, want)
		}
	}
	wantAfter := func(t *testing.T, start time.Time, want time.Duration) {
		t.Helper()
		if got := time.Since(start); got != want {
			t.Errorf("after %v, want %v", got, want)
		}
	}

	bubble("without wait", limited, func(t *testing.T, s *side, _ *far, _ int) {
		start := time.Now()
		wantErr(t, "Send", s.Send(wire.Fin|wire.Binary, message, false), link.ErrFull)
		wantAfter(t, start, 0)
	})
	bubble("full after SendWait", limited, func(t *testing.T, s *side, _ *far, _ int) {
		start := time.Now()
		wantErr(t, "Send", s.Send(wire.Fin|wire.Binary, message, true), link.ErrStuck)
		wantAfter(t, start, 3*time.Second)
	})
	bubble("a wait that makes no room counts on", limited, func(t *testing.T, s *side, peer *far, _ int) {
		start := time.Now()
		s.clock.Tick(time.Second)
		result := make(chan error, 1)
		go func() { result <- s.Send(wire.Fin|wire.Binary, make([]byte, 9000), true) }()
		for range 2 {
			time.Sleep(time.Second)
			s.clock.Tick(time.Second)
			io.ReadFull(peer.nc, make([]byte, 3000)) // wakes it, in vain
		}
		wantErr(t, "Send", <-result, link.ErrFull)
		wantAfter(t, start, 3*time.Second)
	})
	bubble("what was taken before is noted during the wait", limited, func(t *testing.T, s *side, _ *far, _ int) {
		result := sending(t, s)
		time.Sleep(time.Second)
		s.Stamps.Stall.Move(s.Stamps.Stall.Get(), s.clock.Tick(time.Second))
		time.Sleep(time.Second)
		s.clock.Tick(time.Second)
		wantErr(t, "Send", <-result, link.ErrStuck)
	})
	bubble("what the clock passes over does not count", limited, func(t *testing.T, s *side, _ *far, _ int) {
		start := time.Now()
		s.clock.Tick(time.Second)
		result := sending(t, s)
		took := make(chan time.Duration, 1)
		go func() { // ends with the Send; waited for below
			wantErr(t, "Send", <-result, link.ErrStuck)
			took <- time.Since(start)
		}()
		for range 5 {
			time.Sleep(2 * time.Second)
			s.clock.Tick(time.Second)
		}
		if took := <-took; took < 5*time.Second || took > 7*time.Second {
			t.Errorf("after %v, want 6s, which the clock counts as 3s, less a step", took)
		}
	})
	bubble("waits for ever", forever, func(t *testing.T, s *side, peer *far, sent int) {
		start := time.Now()
		result := sending(t, s)
		time.Sleep(24 * time.Hour)
		go peer.until()
		wantErr(t, "Send", <-result, nil)
		wantAfter(t, start, 24*time.Hour)
	})
	bubble("room while it waits", limited, func(t *testing.T, s *side, peer *far, sent int) {
		start := time.Now()
		result := sending(t, s)
		time.Sleep(time.Second)
		for i := range sent + 1 {
			_, p, err := peer.frame()
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if got := string(p); i < sent && got != string(numbered(0, i, 992)) || i == sent && got != string(message) {
				t.Errorf("frame %d is another, want them in order", i)
			}
		}
		wantErr(t, "Send", <-result, nil)
		wantAfter(t, start, time.Second)
	})
	bubble("many wait", forever, func(t *testing.T, s *side, peer *far, sent int) {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantErr(t, "Send", s.Send(wire.Fin|wire.Binary, message, true), nil) })
		}
		synctest.Wait()
		for range sent + 50 {
			if _, _, err := peer.frame(); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
	})
	bubble("too large", limited, func(t *testing.T, s *side, _ *far, _ int) {
		start := time.Now()
		for _, wait := range []bool{false, true} {
			wantErr(t, "Send of what is over the limit", s.Send(wire.Fin|wire.Binary, make([]byte, 10_000), wait), link.ErrTooLarge)
		}
		wantAfter(t, start, 0)
	})
	bubble("closed while it waits", limited, func(t *testing.T, s *side, _ *far, _ int) {
		result, start := sending(t, s), time.Now()
		if !s.CloseWith(link.CloseFrame{Code: 1000}) {
			t.Error("CloseWith = false, want true")
		}
		wantErr(t, "Send", <-result, link.ErrClosed)
		wantErr(t, "Send after it", s.Send(wire.Fin|wire.Binary, message, true), link.ErrClosed)
		wantAfter(t, start, 0)
	})
	bubble("cut while it waits", forever, func(t *testing.T, s *side, _ *far, sent int) {
		result := sending(t, s)
		s.Cut()
		wantErr(t, "Send", <-result, link.ErrClosed)
		<-s.done
		wantErr(t, "Send after Done", s.Send(wire.Fin|wire.Binary, message, true), link.ErrClosed)
	})
	bubble("the peer vanishes while it waits", forever, func(t *testing.T, s *side, peer *far, _ int) {
		result := sending(t, s)
		peer.nc.(*hailtest.PipeConn).Reset()
		wantErr(t, "Send", <-result, link.ErrClosed)
		<-s.done
	})
	bubble("stall is stamped", limited, func(t *testing.T, s *side, peer *far, sent int) {
		if got := s.Stamps.Stall.Get(); got == 0 {
			t.Error("Stall is not set, want it to be: a write waits")
		}
		for range sent {
			peer.frame()
		}
		synctest.Wait()
		if got := s.Stamps.Stall.Get(); got != 0 {
			t.Errorf("Stall = %v with everything written, want none", got)
		}
	})
	t.Run("no limit", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 1000)
			s, _ := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			for range 1000 {
				wantErr(t, "Send", s.Send(wire.Fin|wire.Binary, message, false), nil)
			}
		})
	})
	for name, transport := range transports {
		t.Run("exactly the limit over "+name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{2, 127, 130, 1000} {
				cfg := usual()
				cfg.SendQueue = limit
				server, peer := transport(t, 4096)
				s, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				fits := 0
				for wire.FrameSize(fits+1) <= limit {
					fits++
				}
				wantErr(t, fmt.Sprintf("limit %d: Send of %d bytes", limit, fits), s.Send(wire.Fin|wire.Binary, make([]byte, fits), false), nil)
				wantErr(t, fmt.Sprintf("limit %d: Send of %d bytes", limit, fits+1), s.Send(wire.Fin|wire.Binary, make([]byte, fits+1), true), link.ErrTooLarge)
				if h, _, err := f.frame(); h.Length != uint64(fits) || err != nil {
					t.Errorf("limit %d: the peer reads %d bytes, %v, want %d", limit, h.Length, err, fits)
				}
			}
		})
	}
}

// TestControlGoesFirst reads in odd sizes, with pings between the reads: wherever the write stands, they
// come at a frame's boundary, and the data in order.
func TestControlGoesFirst(t *testing.T) {
	t.Parallel()
	for _, pipe := range []int{1, 7, 100, 1000, 5000} {
		t.Run(fmt.Sprintf("pipe=%d", pipe), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, peer := memory(t, pipe)
				s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				sizes := []int{0, 1, 117, 118, 119, 300, 1000, 3000}
				count, total := 0, 0
				for round := 0; total < 20*max(pipe, 2000); round++ {
					size := sizes[round%len(sizes)]
					if err := s.Send(wire.Fin|wire.Binary, numbered(0, count, size), false); err != nil {
						t.Fatalf("Send: %v", err)
					}
					count++
					total += wire.FrameSize(8 + size)
				}
				var stream []byte
				pings := 0
				odd := []int{1, 2, 3, 5, 7, 11, 126, 129, 509, 1021, 4099}
				buf := make([]byte, 5000)
				for i := 0; ; i++ {
					synctest.Wait()
					if len(stream) < total/2 {
						s.Ping()
						pings++
						synctest.Wait()
					} else {
						s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
					}
					n, err := f.nc.Read(buf[:odd[i%len(odd)]])
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatalf("read: %v after %d bytes", err, len(stream))
					}
					stream = append(stream, buf[:n]...)
				}
				next, seen, last := 0, 0, 0
				all := parse(t, stream)
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
					t.Errorf("the last ping comes behind all %d messages, want it ahead of some", count)
				}
			})
		})
	}
	t.Run("at the next boundary", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 100)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			s.Send(wire.Fin|wire.Binary, numbered(0, 0, 10_000), false) // takes more than one write
			for seq := 1; seq < 20; seq++ {
				s.Send(wire.Fin|wire.Binary, numbered(0, seq, 500), false)
			}
			synctest.Wait()
			s.Ping()
			s.Ping()
			for i, want := range []byte{wire.Binary, wire.Ping, wire.Ping, wire.Binary, wire.Binary} {
				if h, _, err := f.frame(); h.Opcode() != want || err != nil {
					t.Errorf("frame %d has opcode %#x, %v, want %#x", i, h.Opcode(), err, want)
				}
			}
		})
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		server, peer := overTCP(t, 16<<10)
		s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		const count = 4000
		for seq := range count {
			s.Send(wire.Fin|wire.Binary, numbered(0, seq, 1000+seq%7), false)
		}
		s.Ping()
		s.CloseWith(link.CloseFrame{Code: 1000})
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
			t.Errorf("%d messages, the ping behind %d, want %d, and it ahead of half of them", next, at, count)
		}
	})
}

func TestPingFlood(t *testing.T) {
	t.Parallel()
	const pings = 5000
	ping := func(i int) []byte { return fmt.Appendf(nil, "%0125d", i) }
	// check looks at the pongs: some of the pings' payloads, in order, the last one's last.
	check := func(t *testing.T, all []got, most int) {
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
			if g.data != string(ping(i)) || i <= last {
				t.Fatalf("pong %v behind that for ping %d", g, last)
			}
			last = i
			bytes += wire.FrameSize(len(g.data))
		}
		if last != pings-1 {
			t.Errorf("the last pong is for ping %d, want %d", last, pings-1)
		}
		if bytes > most {
			t.Errorf("pongs of %d bytes for a peer that does not read, want at most %d", bytes, most)
		}
	}
	for _, data := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory/behind data=%v", data), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const pipe = 2000
				server, peer := memory(t, pipe)
				s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				if data {
					s.Send(wire.Fin|wire.Binary, numbered(0, 0, 50_000), false)
				}
				sent := 0
				for i := range pings {
					b := masked(wire.Fin|wire.Ping, ping(i))
					f.send(b)
					sent += len(b)
				}
				synctest.Wait()
				if got := s.traffic.In.Load(); got != uint64(sent) {
					t.Errorf("%d bytes were read, want all %d", got, sent)
				}
				s.CloseWith(link.CloseFrame{Code: 1000})
				// The pipe, what is being written, and the queue.
				check(t, f.until(), pipe+2*(4<<10+127))
				<-s.done
			})
		})
	}
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		server, peer := overTCP(t, 8<<10)
		s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		s.Send(wire.Fin|wire.Binary, numbered(0, 0, 4<<20), false)
		for i := range pings {
			f.send(masked(wire.Fin|wire.Ping, ping(i)))
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
		check(t, all, 300<<10)
		<-s.done
	})
}

// TestPingsDoNotStarveData floods while it reads: between the pongs the data goes on.
func TestPingsDoNotStarveData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, peer := memory(t, 1000)
		s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
		const count, rounds = 100, 1000
		for seq := range count {
			s.Send(wire.Fin|wire.Binary, numbered(0, seq, 1000), false)
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

// TestPingsAmidFramesTakeNoMemory has a ping answered whenever a frame is written in part.
func TestPingsAmidFramesTakeNoMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, f, st := stepwise(t, usual())
		const count, size = 100, 120
		message := numbered(0, 0, 100)
		frame, pong := wire.FrameSize(len(message)), wire.FrameSize(size)
		for range count {
			s.Send(wire.Fin|wire.Binary, message, false)
		}
		st.grant(frame, frame) // alone; the others are written together
		st.grant(frame/2, frame/2)
		largest := 0
		for range count - 3 {
			pinged(f, size)
			st.grant(frame+pong, frame+pong)
			largest = max(largest, s.Writing())
		}
		if most := count*frame + 2*pong; largest > most {
			t.Errorf("%d bytes are held for %d of own frames, want %d at the most", largest, count*frame, most)
		}
		s.CloseWith(link.CloseFrame{Code: 1000, Half: true})
		st.finish(1 << 10)
		if got := texts(f.until()); len(got) != count {
			t.Errorf("got %d messages, want %d", len(got), count)
		}
	})
}

func TestCloseWith(t *testing.T) {
	t.Parallel()
	t.Run("behind queued data", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 500)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			for seq := range 30 {
				s.Send(wire.Fin|wire.Binary, numbered(0, seq, 900), false)
			}
			synctest.Wait()
			if !s.CloseWith(link.CloseFrame{Code: 4000, Reason: "bye"}) {
				t.Error("CloseWith = false, want true")
			}
			if s.CloseWith(link.CloseFrame{Code: 4001}) {
				t.Error("the second CloseWith = true, want false")
			}
			s.Ping()
			if err := s.Send(wire.Fin|wire.Binary, nil, false); err != link.ErrClosed {
				t.Errorf("Send = %v, want %v", err, link.ErrClosed)
			}
			if s.CloseSent() {
				t.Error("CloseSent = true while the close frame waits, want false")
			}
			next := 0
			all := f.until()
			for i, g := range all {
				switch {
				case !g.control():
					if _, seq := checkNumbered(t, g.data); seq != next {
						t.Errorf("message %d, want %d", seq, next)
					}
					next++
				case g.first == wire.Fin|wire.Close && i != len(all)-1:
					t.Errorf("%d frames behind the close frame, want none", len(all)-1-i)
				}
			}
			if last := all[len(all)-1]; last != (got{wire.Fin | wire.Close, "\x0f\xa0bye"}) || next != 30 {
				t.Errorf("%d messages and %v, want 30 and the close frame", next, last)
			}
			<-s.done
			if !s.CloseSent() || !s.PeerClosed() || s.Undelivered() != 0 {
				t.Errorf("CloseSent %v, PeerClosed %v, Undelivered %d, want true, true, 0", s.CloseSent(), s.PeerClosed(), s.Undelivered())
			}
		})
	})
	t.Run("half", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 500)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			s.Send(wire.Fin|wire.Binary, numbered(0, 0, 5000), false)
			s.CloseWith(link.CloseFrame{Code: 1002, Half: true})
			stream, err := io.ReadAll(f.nc)
			all := parse(t, stream)
			if want := (got{wire.Fin | wire.Close, "\x03\xea"}); err != nil || len(all) != 2 || all[1] != want {
				t.Errorf("the peer reads %v, %v, want a message, %v and the end", all, err, want)
			}
			select {
			case <-s.done:
				t.Error("the link is done, want it to wait for the peer")
			default:
			}
		})
	})
	t.Run("peer's close frame first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 500)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
			s.Send(wire.Fin|wire.Binary, numbered(0, 0, 5000), false)
			f.send(masked(wire.Fin|wire.Close, []byte("\x03\xe8")))
			synctest.Wait()
			if stream, err := io.ReadAll(f.nc); err != nil || len(parse(t, stream)) != 2 {
				t.Errorf("the peer reads %v, %v, want the message, the close frame and the end", parse(t, stream), err)
			}
			<-s.done
		})
	})
	for name, transport := range transports {
		t.Run("among senders over "+name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				server, peer := transport(t, 4096)
				cfg := usual()
				cfg.SendQueue = 10_000
				s, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				var accepted atomic.Int64
				var wg sync.WaitGroup
				for sender := range 4 {
					wg.Go(func() {
						for seq := 0; s.Send(wire.Fin|wire.Binary, numbered(sender, seq, seq%700), true) == nil; seq++ {
							if accepted.Add(1) == 300 {
								s.CloseWith(link.CloseFrame{Code: 1001})
							}
							s.Ping()
						}
					})
				}
				all := f.until()
				wg.Wait()
				<-s.done
				data := 0
				for _, g := range all {
					if !g.control() {
						data++
					}
				}
				if int64(data) != accepted.Load() || s.Undelivered() != 0 {
					t.Errorf("%d messages arrived, %d undelivered, want the %d for which Send returned nil", data, s.Undelivered(), accepted.Load())
				}
				if len(all) == 0 || all[len(all)-1].first != wire.Fin|wire.Close {
					t.Error("the last frame is no close frame, want one")
				}
			}
		})
	}
}

func TestUndelivered(t *testing.T) {
	t.Parallel()
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		// Pipes that end within a frame, at its end, and within its header.
		for _, pipe := range []int{1, 100, 507, 508, 509, 511, 512, 1016, 4000, 4096, 5000, 100_000} {
			synctest.Test(t, func(t *testing.T) {
				server, peer := memory(t, pipe)
				s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				const count = 40
				for seq := range count {
					s.Send(wire.Fin|wire.Binary, numbered(0, seq, 496), false) // frames of 508 bytes
					if seq%8 == 0 {
						s.Ping()
					}
				}
				synctest.Wait()
				s.Cut()
				<-s.done
				arrived := 0
				for _, g := range f.until() {
					if !g.control() {
						arrived++
					}
				}
				if got, want := s.Undelivered(), count-arrived; got != want {
					t.Errorf("pipe of %d: Undelivered = %d, want %d: %d arrived", pipe, got, want, arrived)
				}
				if again := s.Undelivered(); again != count-arrived {
					t.Errorf("pipe of %d: Undelivered again = %d, want %d", pipe, again, count-arrived)
				}
			})
		}
	})
	t.Run("dropped for a close", func(t *testing.T) {
		t.Parallel()
		for _, stood := range []time.Duration{0, 999 * time.Millisecond, time.Second, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				server, peer := memory(t, 600)
				s, f := connect(t, server, peer, usual(), link.Negotiation{}, nil)
				const count = 30
				for seq := range count {
					s.Send(wire.Fin|wire.Binary, numbered(0, seq, 496), false)
					synctest.Wait()
				}
				time.Sleep(stood)
				s.clock.Tick(time.Hour)
				s.CloseWith(link.CloseFrame{Code: 1002, Drop: true})
				all := f.until()
				<-s.done
				arrived := len(all) - 1
				for i, g := range all[:arrived] {
					if _, seq := checkNumbered(t, g.data); seq != i {
						t.Errorf("message %d, want %d", seq, i)
					}
				}
				if last := all[arrived]; last != (got{wire.Fin | wire.Close, "\x03\xea"}) {
					t.Errorf("the last frame is %v, want the close frame", last)
				}
				if got, want := s.Undelivered(), count-arrived; got != want {
					t.Errorf("after %v: Undelivered = %d, want %d", stood, got, want)
				}
				if dropped := arrived < count; dropped != (stood >= time.Second) {
					t.Errorf("after %v: %d of %d messages arrived", stood, arrived, count)
				}
			})
		}
	})
	for name, transport := range transports {
		t.Run("cut among senders over "+name, func(t *testing.T) {
			t.Parallel()
			for round := range 30 {
				server, peer := transport(t, 4096)
				cfg := usual()
				cfg.SendQueue = 20_000
				s, f := connect(t, server, peer, cfg, link.Negotiation{}, nil)
				var accepted atomic.Int64
				var wg sync.WaitGroup
				for sender := range 4 {
					wg.Go(func() {
						for seq := 0; s.Send(wire.Fin|wire.Binary, numbered(sender, seq, seq*17%1500), true) == nil; seq++ {
							if accepted.Add(1) == int64(10+20*round) {
								go s.Cut()
							}
						}
					})
				}
				arrived := len(f.until())
				wg.Wait()
				<-s.done
				if got, want := s.Undelivered(), int(accepted.Load())-arrived; got != want {
					t.Errorf("round %d: Undelivered = %d, want %d: %d accepted, %d arrived", round, got, want, accepted.Load(), arrived)
				}
			}
		})
	}
}

// counted counts the writes of a transport.
type counted struct {
	net.Conn
	writes atomic.Int32
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// batch is frames for each text, for one write of the peer. A text that begins with "ping" is a ping.
func batch(texts ...string) (b []byte) {
	for _, text := range texts {
		first := byte(wire.Fin | wire.Text)
		if strings.HasPrefix(text, "ping") {
			first = wire.Fin | wire.Ping
		}
		b = append(b, masked(first, []byte(text))...)
	}
	return b
}

func TestBatch(t *testing.T) {
	t.Parallel()
	echo := func(s *side, m link.Message) { s.Send(first(m), m.Data, true) }
	t.Run("one write", func(t *testing.T) {
		t.Parallel()
		ten := strings.Split("0123456789", "")
		for name, texts := range map[string][]string{
			"one":        {"a"},
			"ten":        ten,
			"pings":      {"ping 1", "ping 2", "ping 3"},
			"mixed":      {"a", "ping 1", "b", "ping 2", "c"},
			"ping first": {"ping 1", "a", "b"},
			"ping last":  {"a", "b", "ping 1"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, peer := memory(t, 0)
					counting := &counted{Conn: server}
					s, f := connect(t, counting, peer, usual(), link.Negotiation{}, echo)
					before := counting.writes.Load()
					f.send(batch(texts...))
					synctest.Wait()
					if got := counting.writes.Load() - before; got != 1 {
						t.Errorf("%d writes, want 1", got)
					}
					s.CloseWith(link.CloseFrame{Code: 1000})
					var data, pongs []string
					for _, g := range f.until() {
						switch g.first {
						case wire.Fin | wire.Text:
							data = append(data, g.data)
						case wire.Fin | wire.Pong:
							pongs = append(pongs, g.data)
						}
					}
					isPing := func(s string) bool { return strings.HasPrefix(s, "ping") }
					wantData := slices.DeleteFunc(slices.Clone(texts), isPing)
					wantPongs := slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return !isPing(s) })
					if !slices.Equal(data, wantData) || !slices.Equal(pongs, wantPongs) {
						t.Errorf("replies %q and pongs %q, want %q and %q", data, pongs, wantData, wantPongs)
					}
				})
			})
		}
	})
	t.Run("one write, the last without a reply", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 0)
			counting := &counted{Conn: server}
			_, f := connect(t, counting, peer, usual(), link.Negotiation{}, func(s *side, m link.Message) {
				if string(m.Data) != "quiet" {
					s.Send(first(m), m.Data, true)
				}
			})
			before, start := counting.writes.Load(), time.Now()
			f.send(batch("a", "b", "quiet"))
			for _, want := range []string{"a", "b"} {
				if _, p, err := f.frame(); string(p) != want || err != nil {
					t.Errorf("reply %q, %v, want %q", p, err, want)
				}
			}
			if got, late := counting.writes.Load()-before, time.Since(start); got != 1 || late != 0 {
				t.Errorf("%d writes after %v, want 1 at once", got, late)
			}
		})
	})
	t.Run("at most a millisecond late", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 0)
			_, f := connect(t, server, peer, usual(), link.Negotiation{}, func(s *side, m link.Message) {
				s.Send(first(m), m.Data, true)
				time.Sleep(10 * time.Millisecond)
			})
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
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 0)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, func(*side, link.Message) { time.Sleep(10 * time.Millisecond) })
			start := time.Now()
			f.send(batch("a", "b"))
			synctest.Wait()
			s.Send(wire.Fin|wire.Text, []byte("from outside"), true)
			_, p, err := f.frame()
			if got := time.Since(start); got > time.Millisecond || string(p) != "from outside" || err != nil {
				t.Errorf("%q, %v after %v, want it within a millisecond", p, err, got)
			}
		})
	})
	t.Run("alone goes at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 0)
			_, f := connect(t, server, peer, usual(), link.Negotiation{}, func(s *side, m link.Message) {
				s.Send(first(m), m.Data, true)
				time.Sleep(10 * time.Millisecond)
			})
			start := time.Now()
			f.send(batch("a"))
			_, _, err := f.frame()
			if got := time.Since(start); got != 0 || err != nil {
				t.Errorf("reply after %v, %v, want it at once", got, err)
			}
		})
	})
	t.Run("closed within it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, peer := memory(t, 0)
			s, f := connect(t, server, peer, usual(), link.Negotiation{}, func(s *side, m link.Message) {
				s.Send(first(m), m.Data, true)
				if string(m.Data) == "b" {
					s.CloseWith(link.CloseFrame{Code: 1000})
				}
			})
			f.send(batch("a", "b", "c", "d"))
			var all []string
			for _, g := range f.until() {
				all = append(all, g.data)
			}
			if want := []string{"a", "b", "\x03\xe8"}; !slices.Equal(all, want) {
				t.Errorf("the peer reads %q, want %q", all, want)
			}
			<-s.done
			if got := s.Undelivered(); got != 0 {
				t.Errorf("Undelivered = %d, want 0", got)
			}
		})
	})
	for name, transport := range transports {
		t.Run("more than the queue over "+name, func(t *testing.T) {
			t.Parallel()
			server, peer := transport(t, 64<<10)
			cfg := usual()
			cfg.SendQueue = 100
			errs := make(chan error, 40)
			// TCP takes what is held at once; memory has to be waited for.
			wait := name == "memory"
			_, f := connect(t, server, peer, cfg, link.Negotiation{}, func(s *side, m link.Message) {
				errs <- s.Send(first(m), bytes.Repeat(m.Data, 40), wait)
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

// first returns the first byte of a frame that sends m back.
func first(m link.Message) byte {
	if m.Text {
		return wire.Fin | wire.Text
	}
	return wire.Fin | wire.Binary
}
