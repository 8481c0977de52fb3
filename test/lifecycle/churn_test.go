package lifecycle_test

// Connections that come and go by the thousand, over TCP, while callbacks run: every byte has to be the right one.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// Words of the messages of churn. A word tells the server what to do.
const (
	churnHello byte = iota
	churnPush
	churnEcho
	churnBlock // until the context ends
	churnRefuse
	churnPanic
	churnGoexit
)

const churnHeader = 8 + 4 + 1

// churnMessage returns a message of n bytes or a little more. The message and each of its bytes show their sender.
func churnMessage(id uint64, seq uint32, word byte, n int) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, churnHeader+n), id)
	b = binary.BigEndian.AppendUint32(b, seq)
	return churnFill(append(b, word), n)
}

// churnFill appends n bytes that follow from the header.
func churnFill(header []byte, n int) []byte {
	var seed [32]byte
	copy(seed[:], header)
	b := append(header, make([]byte, n)...)
	rand.NewChaCha8(seed).Read(b[len(header):])
	return b
}

// churnRead parses a message. It returns an error if the message is not one that the client id may get.
func churnRead(b []byte, id uint64) (seq uint32, word byte, err error) {
	if len(b) < churnHeader {
		return 0, 0, fmt.Errorf("message of %d bytes", len(b))
	}
	got := binary.BigEndian.Uint64(b)
	seq, word = binary.BigEndian.Uint32(b[8:]), b[12]
	if id != 0 && got != id {
		return seq, word, fmt.Errorf("message %d of connection %d, want one of connection %d", seq, got, id)
	}
	if want := churnFill(bytes.Clone(b[:churnHeader]), len(b)-churnHeader); !bytes.Equal(b, want) {
		return seq, word, fmt.Errorf("message %d of connection %d has other bytes than were sent", seq, got)
	}
	return seq, word, nil
}

// churn is a server that answers, sends of its own accord, and counts.
type churn struct {
	hail.Server
	t                   *testing.T
	addr                string
	connects, closes    atomic.Int64
	blocked, stillBlock atomic.Int64
}

func newChurn(t *testing.T, reuse bool) *churn {
	s := &churn{t: t}
	s.Handler = hail.Handler{
		OnConnect: func(c *hail.Conn, _ *http.Request) error {
			s.connects.Add(1)
			return c.Send(hail.Binary(churnMessage(c.ID(), 0, churnHello, 20)))
		},
		OnMessage: s.onMessage,
		OnClose:   func(*hail.Conn, hail.CloseInfo) { s.closes.Add(1) },
	}
	s.Options = hail.Options{ReuseBuffers: reuse, CloseTimeout: time.Second, SendQueue: 256 << 10, Logger: kit.Quiet}
	s.addr = kit.Listen(t, s)
	return s
}

func (s *churn) onMessage(c *hail.Conn, m hail.Message) error {
	_, word, err := churnRead(m.Data, c.ID())
	if err != nil {
		s.t.Errorf("OnMessage: %v", err)
	}
	switch word {
	case churnBlock:
		s.blocked.Add(1)
		s.stillBlock.Add(1)
		defer s.stillBlock.Add(-1)
		select {
		case <-c.Context().Done():
		case <-time.After(kit.Ample):
			s.t.Errorf("the context has not ended within %v", kit.Ample)
		}
		return nil
	case churnRefuse:
		return hail.CloseError{Code: 4001, Reason: "refused"}
	case churnPanic:
		panic("churn")
	case churnGoexit:
		runtime.Goexit()
	}
	return c.Send(m)
}

// push sends to connections in any state, until stop is closed.
func (s *churn) push(stop <-chan struct{}) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for seq := uint32(1); ; seq++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		for c := range s.Conns() {
			if rand.IntN(4) > 0 {
				continue
			}
			c.TrySend(hail.Binary(churnMessage(c.ID(), seq, churnPush, rand.IntN(500))))
		}
	}
}

// churner is a client of churn.
type churner struct {
	*kit.Caller
	id   uint64
	seq  uint32 // of the last message that was sent
	read uint32 // of the last echo
}

// next reads until an echo, a close frame or the end, and checks each frame.
func (c *churner) next() (opcode hailtest.Opcode, payload []byte, err error) {
	for {
		opcode, payload, err = c.Caller.Next()
		if err != nil || opcode == hailtest.OpClose {
			return opcode, payload, err
		}
		seq, word, err := churnRead(payload, c.id)
		switch {
		case opcode != hailtest.OpBinary:
			return opcode, payload, fmt.Errorf("a frame with opcode %v", opcode)
		case err != nil:
			return opcode, payload, err
		case word == churnPush:
		case word != churnEcho || seq != c.read+1:
			return opcode, payload, fmt.Errorf("message %d with word %d, want the echo of %d", seq, word, c.read+1)
		default:
			c.read++
			return opcode, payload, nil
		}
	}
}

// wrong returns err if it is more than the end of a connection, else nil.
func wrong(err error) error {
	var op *net.OpError
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && !op.Timeout() {
		return nil
	}
	return err
}

// send sends a message, whole or in fragments.
func (c *churner) send(word byte, n int) {
	c.seq++
	b := churnMessage(c.id, c.seq, word, n)
	if rand.IntN(4) == 0 {
		c.Write(kit.Fragments(false, b, rand.IntN(5), rand.IntN(5)))
	} else {
		c.Write(kit.Message(b))
	}
}

// live opens a connection, has messages echoed, and ends it.
func (s *churn) live() error {
	caller, err := kit.Call(s.addr)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer caller.Close()
	_, hello, err := caller.Next()
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if _, word, err := churnRead(hello, 0); err != nil || word != churnHello {
		return fmt.Errorf("hello: word %d, %v", word, err)
	}
	c := &churner{Caller: caller, id: binary.BigEndian.Uint64(hello)}
	for range rand.IntN(4) {
		batch := 1 + rand.IntN(4)
		for range batch {
			c.send(churnEcho, []int{0, rand.IntN(300), 5000, rand.IntN(50_000)}[rand.IntN(4)])
		}
		for range batch {
			if opcode, _, err := c.next(); err != nil || opcode != hailtest.OpBinary {
				return fmt.Errorf("echo %d: opcode %v, %w", c.read+1, opcode, err)
			}
		}
	}
	return churnDeaths[rand.IntN(len(churnDeaths))](c)
}

// churnDeaths are the ways in which connections end.
var churnDeaths = []func(c *churner) error{
	func(c *churner) error { // close handshake
		c.Write(hailtest.CloseFrame(4000, "bye").Bytes())
		return c.closedWith(4000)
	},
	func(c *churner) error { return c.Close() },
	func(c *churner) error { // half-closed
		c.send(churnEcho, 100)
		c.CloseWrite()
		return c.end()
	},
	func(c *churner) error { // half-closed in a frame
		c.Write(kit.Message(make([]byte, 1000))[:500])
		c.CloseWrite()
		return c.end()
	},
	func(c *churner) error { c.Reset(); return nil },
	func(c *churner) error { // reset after echoes that the client does not read
		for range 100 {
			c.send(churnEcho, 100)
		}
		c.Reset()
		return nil
	},
	func(c *churner) error { // reset in a fragmented message
		c.Write(kit.Fragments(false, make([]byte, 1000), 300, 300)[:500])
		c.Reset()
		return nil
	},
	func(c *churner) error { c.send(churnRefuse, 10); return c.closedWith(4001) },
	func(c *churner) error { c.send(churnPanic, 10); return c.closedWith(hail.StatusInternalError) },
	func(c *churner) error { c.send(churnGoexit, 10); return c.closedWith(hail.StatusInternalError) },
	func(c *churner) error { c.send(churnBlock, 10); c.Reset(); return nil },
	func(c *churner) error { // half-closed while a callback runs
		c.send(churnBlock, 10)
		c.CloseWrite()
		return c.end()
	},
	func(c *churner) error { // with unread data, while a callback runs
		c.send(churnBlock, 10)
		c.send(churnEcho, 1000)
		return c.Close()
	},
}

// end reads until the end.
func (c *churner) end() error {
	for {
		if _, _, err := c.next(); err != nil {
			return wrong(err)
		}
	}
}

// closedWith reads until the server's close frame, answers it, and waits for the server to close.
func (c *churner) closedWith(code hail.StatusCode) error {
	for {
		opcode, payload, err := c.next()
		if err != nil {
			return fmt.Errorf("instead of a close frame: %w", err)
		}
		if opcode != hailtest.OpClose {
			continue
		}
		if got := (hailtest.Frame{Payload: payload}).CloseError(); got.Code != code {
			return fmt.Errorf("closed with %v, want %d", got, code)
		}
		c.Write(hailtest.CloseFrame(code, "").Bytes())
		return c.end()
	}
}

// TestChurn is not parallel: it has the machine to itself.
func TestChurn(t *testing.T) {
	hailtest.NoLeaks(t)
	for _, reuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("reuse %v", reuse), func(t *testing.T) {
			s := newChurn(t, reuse)
			stop := make(chan struct{})
			var pusher, clients sync.WaitGroup
			pusher.Go(func() { s.push(stop) })
			limit := time.Now().Add(5 * time.Second)
			left := atomic.Int64{}
			left.Store(int64(kit.Often(1000)))
			for range 32 {
				clients.Go(func() { // ends when no lives are left, or at limit; waited for below
					for left.Add(-1) >= 0 && time.Now().Before(limit) && !t.Failed() {
						if err := s.live(); err != nil {
							t.Error(err)
						}
					}
				})
			}
			clients.Wait()
			for range 20 { // for Close
				c, err := kit.Call(s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, _, err := c.Next(); err != nil { // OnConnect has run
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			close(stop)
			pusher.Wait()
			if got, want := s.closes.Load(), s.connects.Load(); got != want || s.stillBlock.Load() != 0 {
				t.Errorf("OnConnect was called %d times, OnClose %d times, and %d callbacks still run", want, got, s.stillBlock.Load())
			}
			if st := s.Stats(); st.Open != 0 || st.Accepted != uint64(s.connects.Load()) {
				t.Errorf("Stats: %d open, %d accepted, want 0 and %d", st.Open, st.Accepted, s.connects.Load())
			}
			t.Logf("%d connections, %d of whose callbacks were blocked at the end", s.connects.Load(), s.blocked.Load())
		})
	}
}
