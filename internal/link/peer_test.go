package link_test

// The peer's end of a connection in tests: frames as a client reads and sends them.

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

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

// parse splits a stream of whole frames.
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

func inflated(t testing.TB, data string) string {
	t.Helper()
	b, err := io.ReadAll(flate.NewReader(strings.NewReader(data + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return string(b)
}

// numbered returns a message that names its sender. Every byte of it can be checked.
func numbered(sender, seq, size int) []byte {
	p := make([]byte, 8+size)
	binary.BigEndian.PutUint32(p, uint32(sender))
	binary.BigEndian.PutUint32(p[4:], uint32(seq))
	for i := range size {
		p[8+i] = byte(sender*31 + seq*7 + i/3)
	}
	return p
}

// checkNumbered checks that numbered made data, and returns its sender and its number.
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

// texts are the payloads of data frames.
func texts(all []got) (texts []string) {
	for _, g := range all {
		if !g.control() {
			texts = append(texts, g.data)
		}
	}
	return texts
}

// pinged has the peer ping, and a pong of its size queued. It has to be in a bubble.
func pinged(f *far, size int) {
	f.send(masked(wire.Fin|wire.Ping, make([]byte, size)))
	synctest.Wait()
}

// first returns the first byte of a frame that sends m back.
func first(m link.Message) byte {
	if m.Text {
		return wire.Fin | wire.Text
	}
	return wire.Fin | wire.Binary
}
