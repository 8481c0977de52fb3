package soak_test

// The model of one connection: the knowledge of both ends, and whether it fits together.

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"example.com/hail"
)

// fate holds the knowledge that both ends have of one connection.
type fate struct {
	name        string
	rd          *round
	busy        atomic.Bool // a callback runs
	subscribing sync.Mutex  // for Subscribe and Unsubscribe; before mu

	mu    sync.Mutex
	draws *rand.Rand // for callbacks
	wrong []string
	mixed []string // complaints that count only if no messages were given up

	// The server's end.
	known    bool // OnConnect was called
	conn     weak.Pointer[hail.Conn]
	received int                 // the client's messages that were received, in order
	refused  bool                // a callback has returned an error: the client's other messages are dropped
	kept     []kept              // received messages that were kept
	sent     map[string][]places // by stream: the messages for which Send returned nil, and one that is being sent
	topics   map[string]*following
	free     int // messages published to free
	ends     int
	ended    time.Time
	info     hail.CloseInfo

	// The client's end.
	written  int // messages whose last byte may have been written
	whole    int // messages whose write succeeded
	got      map[string]int
	lastFree string
	stays    bool // it waits for the round's end, and reads
	stalled  bool // it did not read at times
	deaf     bool // it stopped reading before the server's close frame
	closed   *hail.CloseError
	said     *hail.CloseError // the close frame that the client has sent
	last     error            // the error of its last read
	failed   bool             // one of its writes has failed: the write may have reported a reset, and no read
}

// places are, by topic, the number of messages that were published before, and the subscription that lasted then.
type places [5]struct{ n, span int }

// kept is a message that OnMessage was called with, and a copy of its bytes.
type kept struct {
	m     hail.Message
	bytes string
}

func newFate(rd *round, name string) *fate {
	h := fnv.New64()
	io.WriteString(h, name)
	f := &fate{name: name, rd: rd, draws: rand.New(rand.NewPCG(rd.seed, h.Sum64())), sent: map[string][]places{},
		got: map[string]int{}, topics: map[string]*following{}}
	for _, name := range topicNames {
		f.topics[name] = &following{topic: rd.topics[name]}
	}
	return f
}

// draw draws for a callback.
func (f *fate) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.draws.IntN(n)
}

// complain notes an error. mu is held.
func (f *fate) complain(format string, args ...any) {
	f.wrong = append(f.wrong, f.name+": "+fmt.Sprintf(format, args...))
}

// disorder notes an error that is allowed if messages were given up.
func (f *fate) disorder(format string, args ...any) {
	f.mixed = append(f.mixed, f.name+": "+fmt.Sprintf(format, args...))
}

// enter notes that a callback runs. The callback runs until leave is called.
func (f *fate) enter(callback string) (leave func()) {
	if !f.busy.CompareAndSwap(false, true) {
		f.mu.Lock()
		f.complain("%s was called while another callback ran", callback)
		f.mu.Unlock()
		return func() {}
	}
	return func() { f.busy.Store(false) }
}

// send sends the stream's next message.
func (f *fate) send(how func(hail.Message) error, stream string, size int) error {
	done := f.rd.doneNow()
	f.mu.Lock()
	seq := len(f.sent[stream])
	var before places
	for i, name := range topicNames {
		if fo := f.topics[name]; fo.current() != nil {
			before[i].n, before[i].span = done[i], len(fo.spans)-1
		}
	}
	f.sent[stream] = append(f.sent[stream], before) // before the client can receive it
	f.mu.Unlock()
	m := hail.Message{Type: typeOf(seq), Data: compose(stream, seq, "-", size)}
	err := how(m)
	spoil(m)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.sent[stream] = f.sent[stream][:seq]
	} else {
		f.alive(done)
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
	if binary != (typeOf(seq) == hail.MessageBinary) {
		f.complain("stream %s: message %d is binary: %v", stream, seq, binary)
	}
	if name, is := isTopics(stream); is {
		f.arrivedFrom(f.topics[name], seq)
		return
	}
	if strings.HasPrefix(stream, free) {
		f.arrivedFree(stream, seq)
		return
	}
	if want := f.got[stream]; seq != want {
		f.complain("stream %s: got message %d, want %d", stream, seq, want)
	}
	f.got[stream] = seq + 1
	if seq >= len(f.sent[stream]) {
		f.complain("stream %s: got message %d of %d", stream, seq, len(f.sent[stream]))
		return
	}
	for i, place := range f.sent[stream][seq] {
		f.precedes(f.topics[topicNames[i]], place.n, place.span, stream, seq)
	}
}

// precedes checks that those of a topic's first n messages that are the subscription's have arrived before a message
// that was sent after them. mu is held.
func (f *fate) precedes(fo *following, n, span int, stream string, seq int) {
	if fo.topic.name == free || n <= fo.last()+1 {
		return
	}
	s := fo.spans[span]
	fo.topic.mu.Lock()
	defer fo.topic.mu.Unlock()
	for i := max(fo.last()+1, s.begin.to); i < min(n, s.end.from); i++ {
		if fo.topic.entries[i].sender != f {
			f.disorder("stream %s: got message %d before the topic %s's %d, published before it", stream, seq, fo.topic.name, i)
			return
		}
	}
}

// returned notes the error that a callback has returned.
func (f *fate) returned(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = f.refused || err != nil
}

// called notes a message that OnMessage was called with, and returns its command.
func (f *fate) called(m hail.Message) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	stream, seq, command, err := read(m.Data)
	switch {
	case err != nil:
		f.complain("%v", err)
	case stream != f.name || seq != f.received || m.Type != typeOf(seq):
		f.complain("got %v message %d of %s, want message %d of %s", m.Type, seq, stream, f.received, f.name)
	}
	if f.refused {
		f.complain("message %d was handled after a callback's error", seq)
	}
	f.received++
	if !f.rd.server.ReuseBuffers && len(f.kept) < 3 {
		f.kept = append(f.kept, kept{m, string(m.Data)})
	}
	return command
}

var notWritten = regexp.MustCompile(`(\d+) queued messages were not written`)

// undelivered returns the number of undelivered messages that CloseInfo reports.
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

// judge returns the contradictions of a connection that is over. calm says that publishing had stopped
// when the server was shut down.
func (f *fate) judge(calm bool) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known {
		return f.wrong
	}
	if f.ends != 1 {
		f.complain("OnClose was called %d times", f.ends)
	}
	for _, k := range f.kept {
		if string(k.m.Data) != k.bytes {
			f.complain("a message that was kept has become %.50q, was %.50q", k.m.Data, k.bytes)
		}
	}
	f.judgeReceived()
	f.judgeSent(calm)
	f.judgeClose()
	// In memory a writer waits for the reader. It sees no progress until a whole chunk is read, which holds hundreds of messages.
	stuck := f.info.Cause == hail.CauseWriteTimeout && f.rd.kind != "memory"
	if (stuck || f.info.Cause == hail.CausePingTimeout) && f.onTime() {
		o := &f.rd.server.Options
		f.complain("%v, but the client has read and answered all the time; goroutines were late by %v at most, WriteTimeout is %v, PongTimeout %v",
			f.info, f.lateBy(), o.WriteTimeout, o.PongTimeout)
	}
	return f.wrong
}

// onTime reports whether the client has read and answered all the time, and the process had the time for that at the end.
// Several goroutines run before a ping is answered. A goroutine that writes for a connection writes many pieces,
// and none of them counts before the last.
func (f *fate) onTime() bool {
	goroutines := time.Duration(16)
	if f.rd.kind != "epoll" {
		goroutines = 32
	}
	o := &f.rd.server.Options
	return f.ends > 0 && !f.stalled && !f.deaf && f.lateBy() < min(o.PongTimeout, o.WriteTimeout)/goroutines
}

// lateBy returns how late goroutines ran at most while the connection's timeouts were running.
func (f *fate) lateBy() time.Duration {
	o := &f.rd.server.Options
	return f.rd.lateness.most(f.ended.Add(-max(o.PingInterval, 0)-o.PongTimeout-o.WriteTimeout), f.ended)
}

// settled reports whether the connection waits for nothing, and how many messages have arrived over it. It is called
// after publishing has stopped. If the connection waits and why is not empty, settled complains.
func (f *fate) settled(why string) (settled bool, came int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stays || !f.known || f.ends > 0 || f.closed != nil || f.deaf {
		return true, 0
	}
	came = f.received
	lost := 0
	for stream, sent := range f.sent {
		lost += len(sent) - f.got[stream]
	}
	for _, n := range f.got {
		came += n
	}
	for _, fo := range f.topics {
		came += len(fo.got)
		if fo.topic.name == free {
			continue
		}
		if fo.current() != nil {
			least, _ := f.missing(fo.untilNow(), func(string, ...any) {})
			lost += least
		}
	}
	if lost == 0 && f.received == f.whole {
		return true, came
	}
	if why != "" {
		f.complain("%s %d messages have not come, and %d of %d were received", why, lost, f.received, f.whole)
	}
	return false, came
}

// judgeReceived judges the messages from the client.
func (f *fate) judgeReceived() {
	if f.received > f.written {
		f.complain("%d messages were received, %d written", f.received, f.written)
	}
	byPeer := f.info.Cause == hail.CausePeerClosed
	if byPeer && !f.refused && f.received < f.whole {
		f.complain("ended by the client (%+v) after %d messages, of which %d were received", f.info, f.whole, f.received)
	}
}

// judgeSent judges the messages to the client.
func (f *fate) judgeSent(calm bool) {
	lost, told := 0, f.undelivered()
	for stream, sent := range f.sent {
		lost += len(sent) - f.got[stream]
	}
	least, most := lost, lost
	for _, fo := range f.topics {
		if fo.topic.name == free {
			if fo.spans != nil {
				most = never // publishes to free are not counted by publisher
			}
			continue
		}
		if fo.current() != nil && calm && f.closed != nil && f.info.Cause == hail.CauseShutdown {
			fo = fo.untilNow()
		}
		a, b := f.missing(fo, f.complain)
		least += a
		if most != never {
			most += b
		}
	}
	if told == 0 {
		f.wrong = append(f.wrong, f.mixed...)
	}
	// Bytes that the system has accepted arrive, unless the connection is reset.
	ended := (f.last == io.EOF || f.last == io.ErrUnexpectedEOF) && !f.failed
	switch {
	case f.deaf:
	case f.closed != nil || ended && f.rd.kind != "tls":
		if told < least || told > most {
			f.complain("%d to %d messages are missing, OnClose was told %d: %+v, the client has read until %v, %v; own %d, %s", least, most, told, f.info, f.closed, f.last, lost, f.followed())
		}
	case least > 0 && f.info.Err == nil:
		f.complain("%d messages are missing, and nobody was told: %+v, the client has read until %v", least, f.info, f.last)
	}
}

// followed describes the connection's topics.
func (f *fate) followed() string {
	var b strings.Builder
	for _, fo := range f.topics {
		if fo.spans != nil {
			fmt.Fprintf(&b, "%s: %d of %d, up to %d, of %v; ", fo.topic.name, len(fo.got), fo.topic.begun.Load(), fo.last(), fo.spans)
		}
	}
	return b.String()
}

// judgeClose judges the close frames.
func (f *fate) judgeClose() {
	own := []hail.Cause{hail.CausePeerClosed, hail.CausePeerGone}
	if f.closed == nil || f.deaf || slices.Contains(own, f.info.Cause) || f.info.Code == hail.StatusAbnormalClosure {
		if f.info.Err == nil && f.closed == nil && !f.deaf {
			f.complain("a clean close, but no close frame came: %+v, the client has read until %v", f.info, f.last)
		}
		return
	}
	// If both sides closed, OnClose is told the frame that came first.
	told := hail.CloseError{Code: f.info.Code, Reason: f.info.Reason}
	if told != *f.closed && (f.said == nil || told != *f.said) {
		f.complain("got close frame %d %q, OnClose was told %+v", f.closed.Code, f.closed.Reason, f.info)
	}
}
