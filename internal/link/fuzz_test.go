package link_test

// The link against itself and against the engine alone. The same bytes have to give the same messages, answers and end,
// however they are split, and those that the engine gives.

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

const fuzzLimit = 600

// trace is the result of a stream of bytes.
type trace struct {
	messages []string // "text ..." and "binary ..."
	end      string   // the close code, or "lost"
	answers  []byte   // the bytes of the pongs and the close frame that were written
}

// script is a net.Conn that reads the given pieces, and keeps the bytes that are written to it.
type script struct {
	pieces [][]byte
	mu     sync.Mutex
	wrote  bytes.Buffer
	closed bool
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if s.closed || len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote.Write(p)
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func describe(text bool, data []byte) string {
	if text {
		return "text " + string(data)
	}
	return "binary " + string(data)
}

// throughLink sends the pieces through a link.
func throughLink(t testing.TB, pieces [][]byte, cfg link.Config) (tr trace) {
	t.Helper()
	cfg.ReadLimit, cfg.SendQueue, cfg.SendWait = fuzzLimit, -1, -1
	cfg.Now = since(time.Now())
	conn := &script{} // with nothing to read before the handshake is over
	o := newOwner(t)
	o.message = func(m link.Message) { tr.messages = append(tr.messages, describe(m.Text, m.Data)) }
	o.Conn = accept(t, conn, link.Negotiation{Compression: true}, &cfg)
	conn.pieces = slices.Clone(pieces)
	conn.wrote.Reset()
	o.Bind(o, &o.traffic)
	o.Start()
	<-o.done
	tr.answers = conn.wrote.Bytes()
	if tr.end = "lost"; o.code() != 0 {
		tr.end = fmt.Sprint(o.code())
	}
	return tr
}

// throughEngine gives the bytes to the unchanged engine, with nothing of ours between.
func throughEngine(t testing.TB, b []byte) trace {
	t.Helper()
	conn := &script{}
	opts := &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionNoContextTakeover}
	c, err := websocket.Accept(giveaway{conn, http.Header{}}, upgradeRequest(), opts)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	defer c.CloseNow()
	conn.mu.Lock()
	conn.pieces = [][]byte{bytes.Clone(b)}
	conn.mu.Unlock()
	c.SetReadLimit(fuzzLimit)
	var tr trace
	for {
		kind, data, err := c.Read(context.Background())
		if err == nil {
			tr.messages = append(tr.messages, describe(kind == websocket.MessageText, data))
			continue
		}
		var peer websocket.CloseError
		switch {
		case errors.As(err, &peer):
			tr.end = fmt.Sprint(int(peer.Code))
		case errors.Is(err, websocket.ErrMessageTooBig):
			tr.end = "1009"
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		case strings.Contains(err.Error(), "previous message not read to completion"): // it broke off
		default:
			tr.end = "1002"
		}
		return tr
	}
}

// pieces splits b: each byte of cuts is the length of a piece.
func pieces(b, cuts []byte) [][]byte {
	var parts [][]byte
	for _, cut := range cuts {
		n := min(int(cut), len(b))
		parts = append(parts, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return append(parts, bytes.Clone(b))
}

// frames makes frames of the fuzzer's bytes, most of them legal. Three bytes give a frame's kind, size and oddities; the next
// are its payload.
func frames(script []byte) []byte {
	var out []byte
	for len(script) >= 3 {
		kind, size, odd := script[0], int(script[1]), script[2]
		script = script[3:]
		if odd&0x80 != 0 {
			size *= 5
		}
		payload := make([]byte, size)
		copy(payload, script)
		if odd&0x40 == 0 {
			for i := range payload { // mostly text
				payload[i] = 'a' + payload[i]%26
			}
		}
		script = script[min(size, len(script)):]
		first := []byte{0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0xC2, 0x41, 0x09, 0x83, 0xA1, 0x8B}[kind&15]
		if first&0x08 != 0 && odd&0x20 == 0 {
			payload = payload[:min(len(payload), 125)]
		}
		if first&0x0F == 8 && len(payload) >= 2 && odd&0x10 == 0 {
			binary.BigEndian.PutUint16(payload, 1000)
		}
		if first&0x40 != 0 && odd&0x08 == 0 {
			payload = wire.AppendDeflated(nil, payload)
		}
		out = appendMasked(out, first, payload, odd)
	}
	return append(out, script...)
}

// appendMasked appends a client's frame; odd chooses its oddities.
func appendMasked(out []byte, first byte, payload []byte, odd byte) []byte {
	head := wire.AppendHeader(nil, first, len(payload))
	if odd&0x07 == 7 { // in more bytes than it needs
		head = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(len(payload)))
	}
	if odd&0x07 == 6 { // unmasked
		return append(append(out, head...), payload...)
	}
	key := [4]byte{first, 1, odd, 0xFF}
	head[1] |= 0x80
	out = append(append(out, head...), key[:]...)
	masked := bytes.Clone(payload)
	wire.Mask(masked, binary.LittleEndian.Uint32(key[:]))
	return append(out, masked...)
}

func FuzzHotPathAgainstEngine(f *testing.F) {
	f.Add([]byte("\x00\x05\x00hello"), []byte{1, 1, 1}, true)
	f.Add([]byte("\x02\x05\x00hello\x06\x03\x00abc\x05\x02\x00yz\x08\x04\x00\x00\x00ok"), []byte{3}, true)
	f.Add([]byte("\x09\xF0\x80compress\x00\x00\x00\x01\xFF\x80"), []byte{}, true)
	f.Add([]byte("\x09\x0F\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00xxxxxxx\x0A\x05\x00hello"), []byte{5, 5}, true)
	f.Add([]byte("\x09\x05\x08\xf2\x48\xcd\xc9\xc9"), []byte{1}, true)
	f.Add([]byte("\x00\x03\x40\xff\xfe\xfd"), []byte{9}, true)
	f.Add([]byte("\x02\x02\x40\xe4\xb8\x05\x01\x40\x96"), []byte{8, 1}, true)
	f.Add([]byte("\x08\x04\x50\x03\xe8\xff\xff"), []byte{2, 2}, true)
	f.Add([]byte("\x00\xff\x80\x00\xff\x80"), []byte{200}, true)
	f.Add([]byte("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00"), []byte{1}, false)
	f.Add([]byte("\x88\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00"), []byte{}, false)
	f.Fuzz(func(t *testing.T, script, cuts []byte, structured bool) {
		b := script[:min(len(script), 1<<10)]
		if structured {
			b = frames(b)
		}
		want := throughLink(t, [][]byte{bytes.Clone(b)}, link.Config{})
		for name, run := range map[string]struct {
			pieces [][]byte
			cfg    link.Config
		}{
			"reused":        {[][]byte{bytes.Clone(b)}, link.Config{Reuse: true}},
			"split":         {pieces(b, cuts), link.Config{}},
			"split, reused": {pieces(b, cuts), link.Config{Reuse: true}},
			"byte by byte":  {pieces(b, bytes.Repeat([]byte{1}, len(b))), link.Config{}},
		} {
			got := throughLink(t, run.pieces, run.cfg)
			if want.end == "lost" {
				got.answers, want.answers = nil, nil // the cut may have been quicker
			}
			if !slices.Equal(got.messages, want.messages) || got.end != want.end || !bytes.Equal(got.answers, want.answers) {
				t.Errorf("%s:\n got %q, end %s, answers %q\nwant %q, end %s, answers %q",
					name, got.messages, got.end, got.answers, want.messages, want.end, want.answers)
			}
		}
		taken := engineTakes(b)
		engine := throughEngine(t, taken)
		if len(taken) < len(b) {
			want.messages = want.messages[:min(len(want.messages), len(engine.messages))]
			want.end, engine.end = "", ""
		}
		checkEngine(t, want, engine)
	})
}

// engineTakes returns the frames before the first that the engine misreads. The engine misreads a length in more bytes than
// it needs, and a compressed message that is broken or continues after a final block. It also does not wait for the whole
// header of a length with its top bit set.
func engineTakes(b []byte) []byte {
	var message []byte // compressed, so far
	start := -1        // of the compressed message
	for at := 0; ; {
		h, n := wire.Parse(b[at:])
		if n > 0 && h.Compressed() && (h.Opcode() == wire.Text || h.Opcode() == wire.Binary) {
			start, message = at, nil
		}
		if h.Long || n == 0 && len(b)-at >= 10 && b[at+1]&0x7F == 0x7F && b[at+2]&0x80 != 0 {
			return b[:at]
		}
		if n == 0 || h.Length > uint64(len(b)-at-n) {
			if start >= 0 {
				return b[:start] // does not end
			}
			return b
		}
		payload := bytes.Clone(b[at+n:][:h.Length])
		wire.Mask(payload, h.Key)
		if start >= 0 && !h.Control() {
			message = append(message, payload...)
			if h.First&wire.Fin != 0 {
				if !inflates(message) {
					return b[:start]
				}
				start = -1
			}
		}
		at += n + int(h.Length)
	}
}

// inflates reports whether a compressed message is whole and has no final block.
func inflates(message []byte) bool {
	const behind = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"
	r := strings.NewReader(string(message) + behind)
	_, err := io.Copy(io.Discard, flate.NewReader(r))
	return err == nil && r.Len() == 0
}

// checkEngine compares the link's result with that of the engine alone.
// The link refuses more: text that is not UTF-8, lengths over the limit before the payload is read, and
// messages that break off.
func checkEngine(t *testing.T, got, engine trace) {
	t.Helper()
	if len(got.messages) > len(engine.messages) || !slices.Equal(got.messages, engine.messages[:len(got.messages)]) {
		t.Errorf("messages: got %q, the engine alone %q", got.messages, engine.messages)
	}
	if len(got.messages) < len(engine.messages) {
		next := engine.messages[len(got.messages)]
		if (got.end == "lost" || got.end == "1009" || got.end == "") && engine.end == "" && len(engine.messages) == len(got.messages)+1 {
			return // the engine treats a message that breaks off as complete
		}
		if got.end != "1007" || utf8.ValidString(next) {
			t.Errorf("ended with %s before %q, which the engine delivers", got.end, next)
		}
		return
	}
	before := got.end == "1007" || got.end == "1009" && engine.end == "1002" // the link checks the text, and the length, first
	if engine.end != "" && got.end != engine.end && !before || got.end == "1002" && engine.end != "1002" {
		t.Errorf("end: got %s, the engine alone %s", got.end, engine.end)
	}
}
