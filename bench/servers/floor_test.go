package main

import (
	"bytes"
	"fmt"
	"testing"
)

// stream is a handshake followed by three frames, and a floor's answer.
func stream() (in, out []byte) {
	in = []byte("GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	out = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	for _, frame := range []struct{ header, size string }{{"\x81\x85", "\x05"}, {"\x82\xfe\x01\x2c", "\x7e\x01\x2c"}, {"\x81\x80", "\x00"}} {
		size := map[string]int{"\x05": 5, "\x7e\x01\x2c": 300, "\x00": 0}[frame.size]
		payload := bytes.Repeat([]byte("p"), size)
		out = append(append(append(out, frame.header[0]), frame.size...), payload...)
		key := []byte{1, 2, 3, 4}
		unmask(payload, key)
		in = append(append(append(in, frame.header...), key...), payload...)
	}
	return in, out
}

func TestFloorEcho(t *testing.T) {
	t.Parallel()
	in, want := stream()
	for _, step := range []int{1, 2, 7, 100, len(in)} {
		t.Run(fmt.Sprintf("%d bytes a read", step), func(t *testing.T) {
			t.Parallel()
			var e floorEcho
			var got []byte
			for rest := in; len(rest) > 0; {
				n := copy(e.room(), rest[:min(step, len(rest))])
				got = append(got, e.took(n)...)
				rest = rest[n:]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
