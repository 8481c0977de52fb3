package soak_test

// Messages that name their stream.

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"example.com/hail"
)

// compose returns a message of a stream: "stream seq command filler". The filler follows from the rest. One goroutine at a
// time sends the messages of a stream.
func compose(stream string, seq int, command string, size int) []byte {
	b := fmt.Appendf(nil, "%s %d %s ", stream, seq, command)
	pattern := fmt.Sprintf("%d/%s;", seq, stream)
	for len(b) < size {
		b = append(b, pattern...)
	}
	return b
}

// read parses a message, and checks that it is as its sender composed it.
func read(data []byte) (stream string, seq int, command string, err error) {
	parts := strings.SplitN(string(data), " ", 4)
	if len(parts) == 4 {
		if seq, err = strconv.Atoi(parts[1]); err == nil && bytes.Equal(data, compose(parts[0], seq, parts[2], len(data))) {
			return parts[0], seq, parts[2], nil
		}
	}
	return "", 0, "", fmt.Errorf("a message of %d bytes that nobody sent: %.80q", len(data), data)
}

// typeOf returns the type of a stream's message.
func typeOf(seq int) hail.MessageType { return hail.MessageType(1 + seq%2) }

// spoil overwrites data that the library has copied before it returned.
func spoil(m hail.Message) {
	for i := range m.Data {
		m.Data[i] = '!'
	}
}
