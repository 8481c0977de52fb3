package link_test

// Messages that come in parts, and frames that are illegal.

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

// tape is a socket that the test plays, and the owner of the link that reads it.
type tape struct {
	c       *link.Conn
	cfg     link.Config
	traffic link.Traffic
	now     time.Duration
	in      []byte
	out     []byte
	got     []link.Message
	err     error // the error that ended it
}

func newTape(change func(*link.Config)) *tape {
	p := &tape{cfg: usual(), now: time.Hour}
	p.cfg.Now = func() time.Duration { return p.now }
	if change != nil {
		change(&p.cfg)
	}
	p.c = link.NewConn(&p.cfg, p, p, &p.traffic, true)
	return p
}

func (p *tape) Start(bool) {}
func (p *tape) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, poll.ErrWouldBlock
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}
func (p *tape) Write(b []byte) (int, error)    { p.out = append(p.out, b...); return len(b), nil }
func (p *tape) WantWrite() bool                { return false }
func (p *tape) HungUp() bool                   { return false }
func (p *tape) Unsent() int                    { return 0 }
func (p *tape) CloseWrite() error              { return nil }
func (p *tape) Close() error                   { return nil }
func (p *tape) Abandon(time.Duration) error    { return nil }
func (p *tape) Hangup(error)                   {}
func (p *tape) Slow(error)                     {}
func (p *tape) CloseWritten()                  {}
func (p *tape) WriteFailed()                   {}
func (p *tape) Done()                          {}
func (p *tape) message() (time.Duration, bool) { at := p.c.Stamps.Message.Get(); return at, at != 0 }
func (p *tape) play(frames ...[]byte) poll.Verdict {
	p.in = append(p.in, bytes.Join(frames, nil)...)
	for {
		if v := p.c.Ready(); v != poll.Again {
			return v
		}
	}
}

func (p *tape) Turn() bool {
	for {
		m, err := p.c.Next()
		switch err {
		case nil:
			p.got = append(p.got, m)
		case link.ErrAgain:
			return true
		default:
			p.err = err
			return false
		}
	}
}

var ping = masked(wire.Fin|wire.Ping, []byte("p"))

// TestMessageInParts has a message come byte by byte, with pings between its frames: each byte is handled as it comes.
func TestMessageInParts(t *testing.T) {
	t.Parallel()
	data := []byte("in parts, \u4f60\u597d")
	for name, tc := range map[string]struct {
		op      byte
		payload []byte
	}{
		"text":       {wire.Text, data},
		"binary":     {wire.Binary, data},
		"compressed": {wire.Text | wire.RSV1, wire.AppendDeflated(nil, data)},
	} {
		for _, frames := range []int{1, 2, 5} {
			p := newTape(nil)
			var all []byte
			rest := tc.payload
			for i := range frames {
				first, n := tc.op, len(tc.payload)/frames
				if i > 0 {
					first = wire.Continuation
				}
				if i == frames-1 {
					first, n = first|wire.Fin, len(rest)
				}
				all = append(all, masked(first, rest[:n])...)
				rest = rest[n:]
				if i < frames-1 {
					all = append(all, ping...)
				}
			}
			begin := p.now
			for i := range all {
				verdict := p.play(all[i : i+1])
				if last := i == len(all)-1; verdict == poll.Ended || last != (verdict == poll.Idle && len(p.got) == 1) {
					t.Fatalf("%s, %d frames: verdict %v and %d messages after byte %d of %d: %v", name, frames, verdict, len(p.got), i+1, len(all), p.err)
				} else if at, amid := p.message(); amid == last || amid && at != begin {
					t.Fatalf("%s, %d frames: Stamps.Message at %v after byte %d of %d, want it at %v until the last", name, frames, at, i+1, len(all), begin)
				}
				p.now += time.Hour
			}
			if m := p.got[0]; string(m.Data) != string(data) || m.Text != (tc.op&^wire.RSV1 == wire.Text) {
				t.Errorf("%s, %d frames: got %q, text %v", name, frames, m.Data, m.Text)
			}
			if want := bytes.Repeat([]byte("\x8a\x01p"), frames-1); !bytes.Equal(p.out, want) {
				t.Errorf("%s, %d frames: answered %q, want %q", name, frames, p.out, want)
			}
		}
	}
}

// TestPartialVerdict says when a stream may wait with memory: within a frame, and not between two.
func TestPartialVerdict(t *testing.T) {
	t.Parallel()
	part := masked(wire.Text, []byte("part"))
	for name, tc := range map[string]struct {
		sent []byte
		want poll.Verdict
	}{
		"nothing":             {nil, poll.Idle},
		"a message":           {masked(wire.Fin|wire.Text, []byte("whole")), poll.Idle},
		"a byte":              {part[:1], poll.Partial},
		"a header":            {part[:6], poll.Partial},
		"within a payload":    {part[:8], poll.Partial},
		"between two frames":  {part, poll.Idle},
		"within a ping":       {ping[:6], poll.Partial},
		"within a close":      {masked(wire.Fin|wire.Close, []byte{3, 0xe8})[:7], poll.Partial},
		"an illegal frame":    {masked(wire.Continuation, nil), poll.Ended},
		"a close frame":       {masked(wire.Fin|wire.Close, nil), poll.Ended},
		"fragments, no final": {append(bytes.Clone(part), masked(wire.Continuation, nil)...), poll.Idle},
	} {
		if got := newTape(nil).play(tc.sent); got != tc.want {
			t.Errorf("%s: verdict %v, want %v", name, got, tc.want)
		}
	}
}

func TestIllegalFrames(t *testing.T) {
	t.Parallel()
	unmasked := wire.AppendFrame(nil, wire.Fin|wire.Text, []byte("a"))
	long := []byte{wire.Fin | wire.Text, 0x80 | 126, 0, 1, 0, 0, 0, 0, 'a'}
	top := []byte{wire.Fin | wire.Text, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	plain, deflated := masked(wire.Text, []byte("a")), masked(wire.Text|wire.RSV1, []byte{0})
	for name, tc := range map[string]struct {
		sent [][]byte
		want string // a part of the error
		lost bool
	}{
		"unmasked":                       {[][]byte{unmasked}, "unmasked", true},
		"unmasked among fragments":       {[][]byte{plain, unmasked}, "unmasked", true},
		"long":                           {[][]byte{long}, "more bytes than it needs", false},
		"top bit":                        {[][]byte{top}, "negative payload length", true},
		"RSV2":                           {[][]byte{masked(0xA1, nil)}, "rsv bits", true},
		"RSV1 of a continuation":         {[][]byte{deflated, masked(wire.RSV1, nil)}, "rsv bits", true},
		"RSV1 of a ping":                 {[][]byte{masked(wire.Fin|wire.RSV1|wire.Ping, nil)}, "rsv bits", true},
		"RSV1 of a close":                {[][]byte{masked(wire.Fin|wire.RSV1|wire.Close, nil)}, "rsv bits", true},
		"an unknown opcode":              {[][]byte{masked(wire.Fin|3, nil)}, "unknown opcode", true},
		"an unknown opcode, RSV1":        {[][]byte{masked(wire.Fin|wire.RSV1|3, nil)}, "unknown opcode", true},
		"an unknown control":             {[][]byte{plain, masked(wire.Fin|0xB, nil)}, "unknown opcode", true},
		"a continuation of nothing":      {[][]byte{masked(wire.Fin, []byte("a"))}, "continuation frame without", true},
		"a message among fragments":      {[][]byte{plain, masked(wire.Fin|wire.Text, []byte("a"))}, "without finishing", true},
		"a fragment among compressed":    {[][]byte{deflated, plain}, "without finishing", true},
		"a ping in fragments":            {[][]byte{masked(wire.Ping, nil)}, "fragmented control", true},
		"a long ping among fragments":    {[][]byte{plain, masked(wire.Fin|wire.Ping, make([]byte, 126))}, "invalid length", true},
		"a close in fragments":           {[][]byte{masked(wire.Close, nil)}, "fragmented control", true},
		"a code that may not be sent":    {[][]byte{masked(wire.Fin|wire.Close, []byte{3, 0xed})}, "close payload", true},
		"a close payload of one byte":    {[][]byte{plain, masked(wire.Fin|wire.Close, []byte{3})}, "close payload", true},
		"an unmasked ping, half of it":   {[][]byte{{wire.Fin | wire.Ping, 2, 'a'}}, "unmasked", true},
		"a header alone, much to follow": {[][]byte{masked(wire.Fin, make([]byte, 1000))[:8]}, "continuation frame without", true},
	} {
		p := newTape(nil)
		p.play(tc.sent...)
		var v *link.Violation
		if !errors.As(p.err, &v) || v.Code != 1002 || v.Reason != "protocol error" || v.Lost != tc.lost || !strings.Contains(v.Error(), tc.want) {
			t.Errorf("%s: got %#v (%v), want a violation with 1002, lost: %v, that says %q", name, p.err, p.err, tc.lost, tc.want)
		}
	}
}

// TestTextInParts checks that the link refuses text as soon as it cannot be valid.
func TestTextInParts(t *testing.T) {
	t.Parallel()
	whole := masked(wire.Fin|wire.Text, []byte("a\xffand much more"))
	for name, sent := range map[string][][]byte{
		"a frame in parts":        {whole[:8]},
		"a fragment":              {masked(wire.Text, []byte("a\xe4")), masked(0, []byte("a"))[:7]},
		"a character without end": {masked(wire.Text, []byte("a\xe4")), masked(wire.Fin, nil)},
	} {
		p := newTape(nil)
		p.play(sent...)
		var v *link.Violation
		if !errors.As(p.err, &v) || v.Code != 1007 || v.Lost {
			t.Errorf("%s: got %v, want a violation with 1007", name, p.err)
		}
		// The frame's rest is skipped, even if it looks like frames.
		if name == "a frame in parts" {
			p.in = append(whole[8:], masked(wire.Fin|wire.Close, []byte{3, 0xe8})...)
			var peer *link.PeerClose
			if err := p.c.Discard(); !errors.As(err, &peer) || peer.Code != 1000 {
				t.Errorf("%s: Discard = %v, want the close frame", name, err)
			}
		}
	}
}

// TestDiscardAmidAMessage drops a message of which a part has come, and everything up to the peer's close frame.
func TestDiscardAmidAMessage(t *testing.T) {
	t.Parallel()
	closing := masked(wire.Fin|wire.Close, []byte{3, 0xe9})
	frame := masked(wire.Text, bytes.Repeat(closing, 3)) // the payload is no frame
	for at := range len(frame) + 1 {
		p := newTape(nil)
		p.play(frame[:at])
		if err := p.c.Discard(); err != link.ErrAgain {
			t.Fatalf("at byte %d: Discard = %v, want ErrAgain", at, err)
		}
		if at, amid := p.message(); amid {
			t.Errorf("Stamps.Message at %v, want none", at)
		}
		p.in = append(append(p.in, frame[at:]...), append(masked(wire.Fin, nil), closing...)...)
		var peer *link.PeerClose
		if err := p.c.Discard(); !errors.As(err, &peer) || peer.Code != 1001 || len(p.got) != 0 {
			t.Errorf("at byte %d: Discard = %v and %d messages, want the close frame", at, err, len(p.got))
		}
	}
}

// TestEmptyFragments checks that empty fragments cost no memory, however many come.
func TestEmptyFragments(t *testing.T) {
	p := newTape(nil)
	p.play(masked(wire.Binary, []byte("a")))
	many := bytes.Repeat(masked(wire.Continuation, nil), 100)
	if n := testing.AllocsPerRun(100, func() {
		p.in = many
		p.play()
	}); n > 1 {
		t.Errorf("%v allocations for a hundred, want none", n)
	}
	p.play(masked(wire.Fin, []byte("z")))
	if len(p.got) != 1 || string(p.got[0].Data) != "az" {
		t.Errorf("got %v, want az", p.got)
	}
}

// TestLimitOfParts checks that a message in parts is refused by its headers if it exceeds the limit.
func TestLimitOfParts(t *testing.T) {
	t.Parallel()
	const limit = 1000
	ten := make([]byte, 10)
	for name, tc := range map[string]struct {
		sent [][]byte
		ok   bool
	}{
		"a header past it":              {[][]byte{masked(wire.Binary, make([]byte, limit+1))[:8]}, false},
		"fragments at it":               {[][]byte{masked(wire.Binary, ten), masked(wire.Fin, make([]byte, limit-10))}, true},
		"a second header past it":       {[][]byte{masked(wire.Binary, ten), masked(wire.Fin, make([]byte, limit-9))[:8]}, false},
		"compressed, a header past it":  {[][]byte{masked(wire.Binary|wire.RSV1, make([]byte, 4*limit+1<<10+4))[:8]}, false},
		"compressed, headers past it":   {[][]byte{masked(wire.Binary|wire.RSV1, ten), masked(wire.Fin, make([]byte, 4*limit+1<<10))[:8]}, false},
		"compressed, what comes out":    {[][]byte{masked(wire.Fin|wire.Binary|wire.RSV1, wire.AppendDeflated(nil, make([]byte, limit+1)))}, false},
		"compressed, at it comes out":   {[][]byte{masked(wire.Fin|wire.Binary|wire.RSV1, wire.AppendDeflated(nil, make([]byte, limit)))}, true},
		"an illegal frame that is long": {[][]byte{masked(wire.Fin, make([]byte, limit+1))[:8]}, false},
	} {
		p := newTape(func(cfg *link.Config) { cfg.ReadLimit = limit })
		p.play(tc.sent...)
		var v *link.Violation
		if tooBig := errors.As(p.err, &v) && v.Code == 1009 && !v.Lost; tooBig == tc.ok || tc.ok && (p.err != nil || len(p.got) != 1 || len(p.got[0].Data) != limit) {
			t.Errorf("%s: got %v and %d messages, want a message: %v", name, p.err, len(p.got), tc.ok)
		}
	}
}

// TestBrokenDeflate sends data that does not inflate, in one piece and in two.
func TestBrokenDeflate(t *testing.T) {
	t.Parallel()
	whole := wire.AppendDeflated(nil, bytes.Repeat([]byte("deflate "), 100))
	for name, payload := range map[string][]byte{"cut": whole[:len(whole)-2], "noise": []byte("\xff\xff\xff\xff")} {
		for how, sent := range map[string][][]byte{
			"whole":        {masked(wire.Fin|wire.Binary|wire.RSV1, payload)},
			"in fragments": {masked(wire.Binary|wire.RSV1, payload[:2]), masked(wire.Fin, payload[2:])},
		} {
			p := newTape(nil)
			p.play(sent...)
			var v *link.Violation
			if !errors.As(p.err, &v) || v.Code != 1007 || v.Reason != "invalid compressed data" || v.Lost {
				t.Errorf("%s, %s: got %v, want a violation with 1007", name, how, p.err)
			}
		}
	}
}
