package main

// The minimum work of a server: it reads, unmasks the payload, and writes. Nothing is checked.

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net"
)

// floorPeer has a goroutine for each connection, which blocks.
func floorPeer(settings) peer {
	return peer{serve: func(ln net.Listener) error {
		return serveConns(ln, func(conn net.Conn) {
			defer conn.Close()
			var e floorEcho
			for {
				n, err := conn.Read(e.room())
				if err != nil {
					return
				}
				if reply := e.took(n); len(reply) > 0 {
					if _, err := conn.Write(reply); err != nil {
						return
					}
				}
			}
		})
	}}
}

// floorEcho turns the bytes that a connection reads into the bytes that it writes.
type floorEcho struct {
	open    bool   // the handshake is done
	in, out []byte // in: bytes that were read and are not answered
}

// room returns the buffer to read into, with room for the current frame.
func (e *floorEcho) room() []byte {
	need := len(e.in) + 4096
	if header, size := frameHead(e.in); e.open && header > 0 {
		need = max(header+size, len(e.in)+1)
	}
	if cap(e.in) < need {
		e.in = append(make([]byte, 0, need), e.in...)
	}
	return e.in[len(e.in):cap(e.in)]
}

// took returns the answer to the n bytes that were read. It is valid until the next call.
func (e *floorEcho) took(n int) []byte {
	e.in = e.in[:len(e.in)+n]
	e.out = e.out[:0]
	if !e.open {
		head, rest, whole := bytes.Cut(e.in, []byte("\r\n\r\n"))
		if !whole {
			return nil
		}
		e.open = true
		e.out = appendSwitch(e.out, head)
		e.in = append(e.in[:0], rest...)
	}
	read := 0
	for {
		header, size := frameHead(e.in[read:])
		if header == 0 || len(e.in)-read < header+size {
			break
		}
		frame := e.in[read : read+header+size]
		e.out = append(append(e.out, frame[0], frame[1]&0x7F), frame[2:header-4]...)
		e.out = append(e.out, frame[header:]...)
		unmask(e.out[len(e.out)-size:], frame[header-4:header])
		read += len(frame)
	}
	e.in = append(e.in[:0], e.in[read:]...)
	return e.out
}

// frameHead returns the lengths of the header, mask included, and the payload that b begins with; 0 if b is too short.
func frameHead(b []byte) (header, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	header, size = 6, int(b[1]&0x7F)
	switch {
	case size == 126 && len(b) >= 4:
		header, size = 8, int(binary.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		header, size = 14, int(binary.BigEndian.Uint64(b[2:]))
	case size >= 126:
		return 0, 0
	}
	if len(b) < header {
		return 0, 0
	}
	return header, size
}

func unmask(b, key []byte) {
	four := uint64(binary.LittleEndian.Uint32(key))
	eight := four<<32 | four
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^eight)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i%4]
	}
}

// appendSwitch appends the response to a handshake (RFC 6455 section 4.2.2).
func appendSwitch(b, request []byte) []byte {
	_, after, _ := bytes.Cut(request, []byte("Sec-WebSocket-Key: "))
	key, _, _ := bytes.Cut(after, []byte("\r\n"))
	sum := sha1.Sum(append(bytes.Clone(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	return append(base64.StdEncoding.AppendEncode(b, sum[:]), "\r\n\r\n"...)
}
