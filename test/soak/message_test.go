package soak_test

// Messages that tell where they come from.

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"example.com/hail"
)

// A message is the next of a stream, which one goroutine at a time sends: "stream seq command filler", the filler such
// as follows from the rest.
func compose(stream string, seq int, command string, size int) []byte {
	b := fmt.Appendf(nil, "%s %d %s ", stream, seq, command)
	pattern := fmt.Sprintf("%d/%s;", seq, stream)
	for len(b) < size {
		b = append(b, pattern...)
	}
	return b
}

// read takes a message apart, and holds it against what its sender has made.
func read(data []byte) (stream string, seq int, command string, err error) {
	parts := strings.SplitN(string(data), " ", 4)
	if len(parts) == 4 {
		if seq, err = strconv.Atoi(parts[1]); err == nil && bytes.Equal(data, compose(parts[0], seq, parts[2], len(data))) {
			return parts[0], seq, parts[2], nil
		}
	}
	return "", 0, "", fmt.Errorf("a message of %d bytes that nobody sent: %.80q", len(data), data)
}

// typeOf is a stream's message's type.
func typeOf(seq int) hail.MessageType { return hail.MessageType(1 + seq%2) }

// spoil overwrites what the library has copied when it returns.
func spoil(m hail.Message) {
	for i := range m.Data {
		m.Data[i] = '!'
	}
}
