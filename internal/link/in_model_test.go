package link_test

// Random frames that arrive in random pieces, on connections that also read within each other's callbacks.

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

var (
	inSeeds = flag.Uint64("inseeds", 80, "how many scripts TestInOrder runs")
	inFirst = flag.Uint64("infirst", 0, "the seed of the first")
)

// TestInOrder has three connections read the frames of a random script.
func TestInOrder(t *testing.T) {
	t.Parallel()
	for part := range uint64(4) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := *inFirst + part; seed < *inFirst+*inSeeds && !t.Failed(); seed += 4 {
				// In a bubble no timer runs meanwhile: the sockets are not for two goroutines.
				synctest.Test(t, func(t *testing.T) { readInOrder(t, seed) })
			}
		})
	}
}

// readInOrder runs one script.
func readInOrder(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	cfg := usual()
	cfg.Now = func() time.Duration { return 1 }
	cfg.Reuse = r.IntN(2) == 0
	if r.IntN(2) == 0 {
		cfg.ReadLimit = int64(readSizes[r.IntN(len(readSizes))] + r.IntN(5) - 2)
	}
	var all []*reader
	for range 3 {
		all = append(all, newReader(t, r, seed, &cfg))
	}
	for _, m := range all {
		m.others = all
	}
	for i := 0; slices.ContainsFunc(all, func(m *reader) bool { return !m.over }); i++ {
		all[i%len(all)].turn()
	}
	for _, m := range all {
		m.compare()
	}
}

// readSizes are payloads at which something changes: a header's length, a buffer, or how a frame is read.
var readSizes = []int{2, 125, 1 << 10, 4 << 10, 16 << 10, 16<<10 + 64, 64 << 10, 64<<10 + 64, 256 << 10, 256<<10 + 64, 600 << 10}

// reader is a connection whose socket the test plays, and the messages that the connection has to get.
type reader struct {
	pretender
	cfg    *link.Config
	o      *owner
	others []*reader
	most   int // bytes that a read gives
	want   [][]byte
	pongs  [][]byte
	code   int // the close code that it ends with
	got    [][]byte
	copies [][]byte // of got, as they were
	inside bool
	over   bool
}

func newReader(t *testing.T, r *rand.Rand, seed uint64, cfg *link.Config) *reader {
	m := &reader{pretender: pretender{t: t, seed: seed, r: r}, cfg: cfg, o: newOwner(t)}
	m.most = []int{1, 3, 100, 5000, 1 << 20}[r.IntN(5)]
	m.o.message = m.receive
	m.o.Conn = link.NewConn(cfg, m, m.o, &m.o.traffic, true)
	m.c = m.o.Conn
	total := 0
	for range r.IntN(30) {
		if m.code == 0 && total < m.mostBytes() {
			total += m.message()
		}
	}
	if m.code == 0 {
		m.code = 1000
		m.in = append(m.in, masked(wire.Fin|wire.Close, []byte{3, 0xe8})...)
	}
	return m
}

// mostBytes returns the size of the longest message, and of all others together. More would be slow to read in small pieces.
func (m *reader) mostBytes() int { return min(20_000*m.most, 700_000) }

// letters returns n random letters.
func (m *reader) letters(n int) []byte {
	all := letters()
	return bytes.Clone(all[m.r.IntN(len(all)-n):][:n])
}

// letters returns a supply of random letters. Making new ones for each message would be most of the test's work.
var letters = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(0, 4))
	all := make([]byte, 2<<20)
	for i := range all {
		all[i] = byte('a' + r.IntN(26))
	}
	return all
})

// message has the peer send one message, in any legal way, and returns its size.
func (m *reader) message() int {
	size := m.r.IntN(300)
	if m.r.IntN(3) == 0 {
		size = readSizes[m.r.IntN(len(readSizes))] + m.r.IntN(30) - 15
	}
	if limit := int(m.cfg.ReadLimit); limit >= 0 && m.r.IntN(4) == 0 {
		size = limit + m.r.IntN(5) - 3
	}
	data := m.letters(max(min(size, m.mostBytes()), 0))
	op := []byte{wire.Text, wire.Binary}[m.r.IntN(2)]
	payload := data
	if m.r.IntN(3) == 0 {
		op |= wire.RSV1
		payload = wire.AppendDeflated(nil, data)
	}
	parts := 1
	if m.r.IntN(3) == 0 {
		parts += m.r.IntN(4)
	}
	for i := range parts {
		n := m.r.IntN(len(payload) + 1)
		first := op
		if i > 0 {
			first = wire.Continuation
		}
		if i == parts-1 {
			n, first = len(payload), first|wire.Fin
		}
		m.in = append(m.in, masked(first, payload[:n])...)
		payload = payload[n:]
		for m.r.IntN(3) == 0 {
			ping := data[:min(len(data), m.r.IntN(126))]
			m.in = append(m.in, masked(wire.Fin|wire.Ping, ping)...)
			if limit := m.cfg.ReadLimit; limit < 0 || int64(len(data)) <= limit {
				m.pongs = append(m.pongs, ping)
			}
		}
		if i < parts-1 && m.r.IntN(30) == 0 {
			if limit := m.cfg.ReadLimit; limit >= 0 && int64(len(data)) > limit {
				continue // either of the two may end the connection
			}
			m.in = append(m.in, masked(wire.Fin|wire.Close, []byte{3, 0xe9})...)
			m.code = 1001
			return len(data)
		}
	}
	if limit := m.cfg.ReadLimit; limit >= 0 && int64(len(data)) > limit {
		m.code = 1009
	} else {
		m.want = append(m.want, data)
	}
	return len(data)
}

func (m *reader) Read(b []byte) (int, error) {
	m.syscall("reads")
	if len(b) == 0 {
		m.t.Fatalf("seed %d: reads into nothing", m.seed)
	}
	switch {
	case m.closed:
		return 0, io.ErrClosedPipe
	case len(m.in) == 0:
		return 0, io.EOF
	case m.r.IntN(4) == 0:
		return 0, poll.ErrWouldBlock
	}
	n := copy(b[:min(len(b), 1+m.r.IntN(m.most))], m.in)
	m.in = m.in[n:]
	return n, nil
}

func (m *reader) Write(b []byte) (int, error) {
	m.syscall("writes")
	m.out = append(m.out, b...)
	return len(b), nil
}

// elsewhere has another connection read something.
func (m *reader) elsewhere() {
	m.inside = true
	m.others[m.r.IntN(len(m.others))].turn()
	m.inside = false
}

// turn does as a worker does with the socket.
func (m *reader) turn() {
	if m.inside || m.over {
		return
	}
	if m.closed {
		m.over = true
		m.c.Done()
		return
	}
	if m.c.Ready() == poll.Ended {
		m.Close()
	}
}

func (m *reader) receive(msg link.Message) {
	data := msg.Data
	as := bytes.Clone(data)
	for range m.r.IntN(4) {
		m.elsewhere()
	}
	if !bytes.Equal(as, data) {
		m.t.Fatalf("seed %d: a message of %d bytes has changed during the callback", m.seed, len(as))
	}
	if m.cfg.Reuse {
		clear(data) // it belongs to the callback
		data = as
	} else {
		clear(data[len(data):cap(data)]) // so does the capacity that append would use
	}
	m.got, m.copies = append(m.got, data), append(m.copies, as)
}

func (m *reader) compare() {
	if told := m.o.code(); told != m.code {
		m.t.Errorf("seed %d: ended with %d, want %d", m.seed, told, m.code)
	}
	if !slices.EqualFunc(m.got, m.want, bytes.Equal) {
		m.t.Errorf("seed %d: got %d messages, want %d, or others", m.seed, len(m.got), len(m.want))
	}
	if !slices.EqualFunc(m.got, m.copies, bytes.Equal) {
		m.t.Errorf("seed %d: messages have changed after their callbacks", m.seed)
	}
	var pongs [][]byte
	for _, g := range parse(m.t, m.out) {
		if g.first == wire.Fin|wire.Pong {
			pongs = append(pongs, []byte(g.data))
		}
	}
	if len(pongs) > len(m.pongs) && m.code == 1009 {
		pongs = pongs[:len(m.pongs)] // the others come within the message that is too big
	}
	if !slices.EqualFunc(pongs, m.pongs, bytes.Equal) {
		m.t.Errorf("seed %d: %d pongs, want %d, or others", m.seed, len(pongs), len(m.pongs))
	}
}
