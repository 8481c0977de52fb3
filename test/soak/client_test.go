package soak_test

// A client, whose behaviour is drawn at random, good and bad.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

type client struct {
	r       *rand.Rand
	nc      net.Conn
	br      *bufio.Reader
	f       *fate
	deflate bool

	mu      sync.Mutex // for writes
	said    bool       // the close frame was written: bytes after it could make the system drop bytes that the client has not read
	stalled atomic.Bool
	answers chan []byte   // answers to frames that were read
	read    chan struct{} // closed when reading has ended
}

// handshake connects, and reports whether the server has accepted.
func (c *client) handshake(target string) bool {
	extra := ""
	if c.r.IntN(3) == 0 {
		extra = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	}
	request := "GET " + target + " HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + extra + "\r\n"
	switch c.r.IntN(40) {
	case 0: // a part of the request
		io.WriteString(c.nc, request[:c.r.IntN(len(request))])
		c.hangUp()
		return false
	case 1: // an illegal request
		request = "GET " + target + " HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\n\r\n"
	}
	// The first message may come with the handshake, except in memory: a pipe does not keep it for a server that answers first.
	early := c.r.IntN(5) == 0 && c.f.rd.kind != "memory"
	var first []byte
	if early {
		first = c.message("echo")
	}
	if _, err := c.nc.Write(append([]byte(request), first...)); err == nil && early {
		c.f.mu.Lock()
		c.f.whole++
		c.f.mu.Unlock()
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.nc.Close()
		return false
	}
	c.deflate = resp.Header.Get("Sec-WebSocket-Extensions") != ""
	return true
}

// hangUp ends the connection without a close frame.
func (c *client) hangUp() {
	if nc, ok := c.nc.(*net.TCPConn); ok && c.r.IntN(2) == 0 {
		nc.SetLinger(0)
	}
	c.nc.Close()
}

// answer writes the answers to frames that listen has read. listen does not wait for it: the server may be waiting for
// listen to read. answer ends with listen.
func (c *client) answer() {
	for b := range c.answers {
		c.write(b, 0)
	}
	close(c.read)
}

// listen reads until the connection ends. answer replies to pings and to the close frame.
func (c *client) listen() {
	defer close(c.answers)
	var message []byte
	var head byte
	for {
		for c.stalled.Load() {
			time.Sleep(time.Millisecond)
		}
		first, payload, err := kit.ReadFrame(c.br)
		if err != nil {
			c.f.mu.Lock()
			c.f.last = err
			c.f.mu.Unlock()
			return
		}
		switch op := first & 15; op {
		case byte(hailtest.OpClose):
			e := hailtest.Frame{Payload: payload}.CloseError()
			c.f.mu.Lock()
			c.f.closed = &e
			c.f.mu.Unlock()
			c.answers <- hailtest.Frame{Fin: true, Opcode: hailtest.OpClose, Payload: payload}.Bytes()
		case byte(hailtest.OpPing):
			select {
			case c.answers <- hailtest.Frame{Fin: true, Opcode: hailtest.OpPong, Payload: payload}.Bytes():
			default: // only the newest of many pings needs an answer, and more will come
			}
		case byte(hailtest.OpPong):
		default:
			if op != 0 {
				head, message = first, nil
			}
			message = append(message, payload...)
			if first&0x80 == 0 {
				continue
			}
			if head&0x40 != 0 {
				if message, err = kit.Inflate(message); err != nil {
					message = []byte(err.Error()) // a message that nobody sent
				}
			}
			c.f.arrived(head&15 == byte(hailtest.OpBinary), message)
		}
	}
}

// write writes b in pieces of at most piece bytes, or in one if piece is 0.
func (c *client) write(b []byte, piece int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said {
		return nil
	}
	if c.said = b[0] == 0x80|byte(hailtest.OpClose) && len(b) >= 6; c.said { // if shorter, a byte of another frame
		e := hailtest.Frame{Payload: unmasked(b[2:])}.CloseError()
		c.f.mu.Lock()
		c.f.said = &e
		c.f.mu.Unlock()
	}
	for len(b) > 0 {
		n := len(b)
		if piece > 0 {
			n = min(n, piece)
		}
		if _, err := c.nc.Write(b[:n]); err != nil {
			c.f.mu.Lock()
			c.f.failed = true
			c.f.mu.Unlock()
			return err
		}
		b = b[n:]
	}
	return nil
}

// unmasked returns the payload that follows a masking key, and leaves b as it is.
func unmasked(b []byte) []byte {
	payload := bytes.Clone(b[4:])
	for i := range payload {
		payload[i] ^= b[i%4]
	}
	return payload
}

// say sends a message with a command, whole or in random pieces.
func (c *client) say(command string) error {
	b := c.message(command)
	piece := 0
	if c.r.IntN(5) == 0 {
		piece = 1 + c.r.IntN(1+len(b)/8)
	}
	err := c.write(b, piece)
	if err == nil {
		c.f.mu.Lock()
		c.f.whole++
		c.f.mu.Unlock()
	}
	return err
}

// message returns the next message, with a command, in one or more frames.
func (c *client) message(command string) (b []byte) {
	size := []int{0, 100, 126, 1000, 5000, 20_000, 60_000}[c.r.IntN(7)]
	c.f.mu.Lock()
	seq := c.f.written
	c.f.written++
	c.f.mu.Unlock()
	data := compose(c.f.name, seq, command, size)
	op := hailtest.Opcode(1 + seq%2)
	packed := c.deflate && c.r.IntN(2) == 0
	if packed {
		data = kit.Deflate(data)
	}
	for parts := c.r.IntN(4); ; parts-- {
		n := len(data)
		if parts > 0 {
			n = c.r.IntN(n + 1)
		}
		b = append(b, hailtest.Frame{Fin: parts <= 0, RSV1: packed && op != 0, Opcode: op, Payload: data[:n]}.Bytes()...)
		if data, op = data[n:], 0; parts <= 0 {
			break
		}
		if c.r.IntN(4) == 0 {
			b = append(b, hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: []byte("between")}.Bytes()...)
		}
	}
	return b
}

// commands are the requests that a client may make of the server; see obey. enders end the connection.
var commands = []string{"echo", "echo", "echo", "burst", "spawn", "cross", "publish", "publish", "others", "order", "order", "broadcast", "free", "free",
	"subscribe", "subscribe", "resume", "resume", "unsubscribe", "listen", "elsewhere", "block", "look", "context", "flood"}

var enders = []string{"error", "wrapped", "code", "panic", "goexit", "close", "closeothers", "shutdown"}

// live lets the client live and die. stay waits for the round's end.
func (c *client) live(stay func()) {
	for range c.r.IntN(20) {
		switch c.r.IntN(12) {
		case 0:
			c.write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing, Payload: make([]byte, c.r.IntN(126))}.Bytes(), 0)
		case 1:
			c.write(bytes.Repeat(hailtest.Frame{Fin: true, Opcode: hailtest.OpPong}.Bytes(), 1+c.r.IntN(50)), 0)
		case 2:
			c.stall()
			time.Sleep(time.Duration(c.r.IntN(30)) * time.Millisecond)
			c.stalled.Store(false)
		case 3:
			time.Sleep(time.Duration(c.r.IntN(5)) * time.Millisecond)
		default:
			if c.say(commands[c.r.IntN(len(commands))]) != nil {
				return
			}
		}
	}
	c.die(stay)
}

// die ends the connection, or has the server end it.
func (c *client) die(stay func()) {
	switch c.r.IntN(11) {
	case 0, 1:
		c.write(hailtest.CloseFrame(hail.StatusCode(4000+c.r.IntN(900)), "bye").Bytes(), 0)
	case 2:
		c.say(enders[c.r.IntN(len(enders))])
	case 3:
		c.write(c.illegal(), 0)
	case 4: // in the middle of a frame
		c.write(hailtest.Frame{Fin: c.r.IntN(2) == 0, Opcode: hailtest.OpBinary, Payload: make([]byte, 500)}.Bytes()[:1+c.r.IntN(400)], 0)
		c.deafen()
		c.hangUp()
	case 5:
		c.deafen()
		c.hangUp()
	case 6: // without a word, as a peer that has vanished
		c.deafen()
		c.stall()
		stay()
		c.nc.Close()
		c.stalled.Store(false)
	case 7:
		if nc, ok := c.nc.(interface{ CloseWrite() error }); ok {
			nc.CloseWrite()
		}
	case 8:
		c.trickle()
	case 9: // it asks for much and reads nothing
		c.stall()
		for range 5 {
			c.say("flood")
		}
		c.outlast()
		c.stalled.Store(false)
	default:
		stay()
	}
}

// trickle sends a message that does not end, a byte at a time.
func (c *client) trickle() {
	const header = 8 // it is a header only if no answer to a ping comes between its bytes
	b := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: make([]byte, 1000)}.Bytes()
	if c.write(b[:header], 1) != nil {
		return
	}
	for b = b[header:]; len(b) > 0; b = b[1:] {
		if c.write(b[:1], 0) != nil {
			return
		}
		select {
		case <-c.read:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// outlast waits until the server has ended the connection, at most a second.
func (c *client) outlast() {
	for range 100 {
		c.f.mu.Lock()
		over := c.f.ends > 0
		c.f.mu.Unlock()
		if over {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stall makes the client stop reading, until stalled is false.
func (c *client) stall() {
	c.f.mu.Lock()
	c.f.stalled = true
	c.f.mu.Unlock()
	c.stalled.Store(true)
}

func (c *client) deafen() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.deaf = true
}

// illegal returns bytes that no client may send.
func (c *client) illegal() []byte {
	big := hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Payload: make([]byte, 70_000)}
	list := [][]byte{
		hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("\xff")}.Bytes(),
		hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("x"), Unmasked: true}.Bytes(),
		hailtest.Frame{Fin: true, Opcode: 5, Payload: []byte("x")}.Bytes(),
		hailtest.Frame{Fin: true, RSV2: true, Opcode: hailtest.OpText}.Bytes(),
		hailtest.Frame{Fin: true, Opcode: hailtest.OpContinuation, Payload: []byte("x")}.Bytes(),
		hailtest.Frame{Opcode: hailtest.OpPing}.Bytes(),
		hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Length: 16 << 30}.Bytes(),
		hailtest.CloseFrame(1005, "").Bytes(),
		hailtest.CloseFrame(999, "").Bytes(),
		hailtest.Frame{Fin: true, RSV1: true, Opcode: hailtest.OpText, Payload: []byte("not deflate")}.Bytes(),
		big.Bytes(),
		[]byte("GET / HTTP/1.1\r\n\r\n"),
	}
	return list[c.r.IntN(len(list))]
}

func name(i int) string { return fmt.Sprintf("c%d", i) }
