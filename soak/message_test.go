package soak_test

// Messages that tell where they come from, and what is known of their fate.

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"example.com/hail"
)

// A message is the next of a stream, which one goroutine sends: "stream seq command filler", the filler such as follows
// from the rest.
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

// fate is what both ends know of one connection.
type fate struct {
	name string
	mu   sync.Mutex

	// The server's end.
	conn     *hail.Conn
	received int            // of the client's messages, in order
	sent     map[string]int // by stream: those for which Send returned nil
	topics   map[string]bool
	left     bool // it has unsubscribed from a topic
	ends     int
	info     hail.CloseInfo

	// The client's end.
	written int // messages of which the last byte may have gone out
	whole   int // of them, those whose write succeeded
	got     map[string]int
	first   map[string]int // of a topic's stream, what came first
	deaf    bool           // it has stopped to read before the server's close frame
	closed  *hail.CloseError
	last    error // of its reads

	wrong []string
}

func newFate(name string) *fate {
	return &fate{name: name, sent: map[string]int{}, got: map[string]int{}, first: map[string]int{}, topics: map[string]bool{}}
}

// complain notes what must not be. mu is held.
func (f *fate) complain(format string, args ...any) {
	f.wrong = append(f.wrong, f.name+": "+fmt.Sprintf(format, args...))
}

// send sends the stream's next message.
func (f *fate) send(how func(hail.Message) error, stream string, size int) error {
	f.mu.Lock()
	seq := f.sent[stream]
	f.sent[stream]++ // before the client can have it
	f.mu.Unlock()
	err := how(hail.Message{Type: hail.MessageType(1 + seq%2), Data: compose(stream, seq, "-", size)})
	if err != nil {
		f.mu.Lock()
		f.sent[stream]--
		f.mu.Unlock()
	}
	return err
}

// arrived notes a message that the client has read.
func (f *fate) arrived(binary bool, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream, seq, _, err := read(data)
	if err != nil {
		f.complain("%v", err)
		return
	}
	if strings.HasPrefix(stream, "topic") {
		if _, known := f.first[stream]; !known {
			f.first[stream], f.got[stream] = seq, seq
		}
	}
	if want := f.got[stream]; seq != want || binary != (seq%2 == 1) {
		f.complain("stream %s: got message %d (binary: %v), want %d", stream, seq, binary, want)
	}
	f.got[stream] = seq + 1
}

// called notes a message that OnMessage was called with, and returns its command.
func (f *fate) called(m hail.Message) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream, seq, command, err := read(m.Data)
	switch {
	case err != nil:
		f.complain("%v", err)
	case stream != f.name || seq != f.received || m.Type != hail.MessageType(1+seq%2):
		f.complain("got %v message %d of %s, want message %d of %s", m.Type, seq, stream, f.received, f.name)
	}
	f.received++
	return command
}

var notWritten = regexp.MustCompile(`(\d+) queued messages were not written`)

// undelivered is what CloseInfo tells of.
func (f *fate) undelivered() int {
	if f.info.Err == nil {
		return 0
	}
	if m := notWritten.FindStringSubmatch(f.info.Err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// judge says what of the connection does not add up, once it is over. Where published is not nil it is how many messages
// each topic had had before the server was shut down; pure says that there were none.
func (f *fate) judge(published map[string]int, pure bool) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn == nil {
		return f.wrong
	}
	if f.ends != 1 {
		f.complain("OnClose was called %d times", f.ends)
	}
	if f.received > f.written {
		f.complain("%d messages were received, %d written", f.received, f.written)
	}
	if f.info.Err == nil && f.info.Cause == hail.CausePeerClosed && f.received != f.whole {
		f.complain("closed by the client behind %d messages, of which %d were received", f.whole, f.received)
	}
	lost, told := 0, f.undelivered()
	for stream, n := range f.sent {
		lost += n - f.got[stream]
		if f.got[stream] > n {
			f.complain("stream %s: got %d of %d messages", stream, f.got[stream], n)
		}
	}
	heard := f.closed != nil && !f.deaf // all that was sent
	switch {
	case heard && lost > told:
		f.complain("%d messages are missing before the close frame, of which OnClose was told %d (%v)", lost, told, f.info)
	case heard && pure && lost != told:
		f.complain("%d messages are missing, OnClose was told %d (%v)", lost, told, f.info)
	case !f.deaf && f.closed == nil && lost > 0 && f.info.Err == nil:
		f.complain("%d messages are missing, and nobody was told: %+v, the client has read until %v", lost, f.info, f.last)
	}
	if published != nil && heard && told == 0 && f.info.Cause == hail.CauseShutdown && !f.left {
		for topic := range f.topics {
			stream := "topic" + topic
			if first, some := f.first[stream]; some && f.got[stream] != published[topic] {
				f.complain("topic %s: got messages from %d to %d of %d", topic, first, f.got[stream], published[topic])
			}
		}
	}
	return f.wrong
}
