package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// unmasked returns the payload of a client's frame.
func unmasked(frame []byte) []byte {
	head := bytes.Clone(frame[:min(10, len(frame))])
	head[1] &= 0x7F
	header, size := parseHeader(head)
	key, masked := frame[header:header+4], frame[header+4:]
	if len(masked) != size {
		panic(fmt.Sprintf("a frame of %d bytes says that it has %d", len(masked), size))
	}
	p := make([]byte, size)
	for i := range p {
		p[i] = masked[i] ^ key[i%4]
	}
	return p
}

func TestClientFrame(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			want := payload(size, false)
			frame := clientFrame(want, false)
			if frame[0] != 0x81 || frame[1]&0x80 == 0 {
				t.Fatalf("begins with % x, want a final text frame with a mask", frame[:2])
			}
			got := unmasked(frame)
			if !bytes.Equal(got, want) {
				t.Errorf("unmasked %q, want %q", got, want)
			}
		})
	}
}

func TestParseMessage(t *testing.T) {
	t.Parallel()
	frame := clientFrame(payload(2048, true), true)
	body := unmasked(frame)
	compressed := append(appendHeader(nil, frame[0], 0, len(body)), body...)
	half := len(body) / 2
	fragments := append(appendHeader(nil, 0x41, 0, half), body[:half]...)
	fragments = append(append(fragments, appendHeader(nil, 0x80, 0, len(body)-half)...), body[half:]...)

	cases := map[string]struct {
		bytes      []byte
		want       []byte
		compressed bool
	}{
		"empty":                   {serverFrame(nil), nil, false},
		"one frame":               {serverFrame(payload(300, false)), payload(300, false), false},
		"three frames":            {[]byte("\x01\x01a\x00\x00\x80\x02bc"), []byte("abc"), false},
		"compressed":              {compressed, payload(2048, true), true},
		"compressed in fragments": {fragments, payload(2048, true), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := parseMessage(append(bytes.Clone(tc.bytes), "more"...))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.check(tc.want, tc.compressed); err != nil || m.size != len(tc.bytes) {
				t.Errorf("got %d bytes, %v; want %d", m.size, err, len(tc.bytes))
			}
			for step := 1; step <= 2*len(tc.bytes); step += 1 + step/2 {
				var c counter
				n := 0
				for rest := bytes.Repeat(tc.bytes, 3); len(rest) > 0; rest = rest[min(step, len(rest)):] {
					n += c.count(rest[:min(step, len(rest))])
				}
				if n != 3 {
					t.Errorf("counted %d messages in steps of %d bytes, want 3", n, step)
				}
			}
			for n := range tc.bytes {
				if _, err := parseMessage(tc.bytes[:n]); err != errPartial {
					t.Fatalf("of the first %d bytes: %v, want %v", n, err, errPartial)
				}
			}
		})
	}
	for name, b := range map[string]string{
		"binary": "\x82\x01a", "a ping between": "\x01\x01a\x89\x00\x80\x01b", "a start that is none": "\x80\x01a",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if m, err := parseMessage([]byte(b)); err == nil || errors.Is(err, errPartial) {
				t.Errorf("got %q, %v; want an error", m.content, err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	want := payload(1000, true)
	cases := map[string]struct {
		message  message
		compress bool
	}{
		"other content":     {message{content: payload(1000, false), size: 1004}, false},
		"shorter":           {message{content: want[:999], size: 1003}, false},
		"not compressed":    {message{content: want, size: 1004}, true},
		"compressed":        {message{content: want, compressed: true, size: 300}, false},
		"hardly compressed": {message{content: want, compressed: true, size: 990}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.message.check(want, tc.compress) == nil {
				t.Error("nothing is wrong, want an error")
			}
		})
	}
}
