package conformance_test

// Helpers of the tests: a server that echoes, and a conversation of frames with it.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestMain(m *testing.M) { hailtest.Main(suite{m}) }

// script has the bytes that a client sends, and the expected outcome.
type script struct {
	opts  hail.Options
	offer string // of extensions
	send  []byte
	want  []string   // the server's frames, as show writes them; pongs may come before data
	cause hail.Cause // default: CausePeerClosed
}

// frames joins the bytes of frames.
func frames(list ...hailtest.Frame) []byte {
	var b []byte
	for _, f := range list {
		b = append(b, f.Bytes()...)
	}
	return b
}

func text(s string) hailtest.Frame {
	return hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(s)}
}

func bin(b []byte) hailtest.Frame {
	return hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Payload: b}
}

// control is a ping, pong or close with a payload.
func control(op hailtest.Opcode, payload string) hailtest.Frame {
	return hailtest.Frame{Fin: true, Opcode: op, Payload: []byte(payload)}
}

// fragments splits a message over frames. The first has its opcode, the last is final.
func fragments(op hailtest.Opcode, parts ...string) []hailtest.Frame {
	list := make([]hailtest.Frame, len(parts))
	for i, part := range parts {
		list[i] = hailtest.Frame{Opcode: op, Payload: []byte(part), Fin: i == len(parts)-1}
		op = hailtest.OpContinuation
	}
	return list
}

var bye = hailtest.CloseFrame(hail.StatusNormalClosure, "bye")

// show formats a server's frame: the opcode, and code and reason or the payload.
func show(f hailtest.Frame) string {
	s := f.Opcode.String()
	switch {
	case f.RSV1 || f.RSV2 || f.RSV3 || !f.Fin:
		return "odd " + f.String()
	case f.Opcode == hailtest.OpClose:
		e := f.CloseError()
		return fmt.Sprintf("close %d %s", e.Code, e.Reason)
	case len(f.Payload) > 64:
		return fmt.Sprintf("%s of %d bytes", s, len(f.Payload))
	}
	return fmt.Sprintf("%s %q", s, f.Payload)
}

// Close frames of a server.
const (
	closed        = "close 1000 " // the answer to bye
	closeProtocol = "close 1002 protocol error"
	closeUTF8     = "close 1007 invalid UTF-8"
	closeTooBig   = "close 1009 message too big"
	closeDeflate  = "close 1007 invalid compressed data"
)

// echo returns a server that echoes, and the channel that OnClose sends to.
func echo(opts hail.Options) (*hail.Server, <-chan hail.CloseInfo) {
	ends := make(chan hail.CloseInfo, 16)
	opts.Logger = kit.Quiet
	return &hail.Server{
		Options: opts,
		Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { return nil },
			OnMessage: hail.Echo,
			OnClose:   func(_ *hail.Conn, info hail.CloseInfo) { ends <- info },
		},
	}, ends
}

// play sends a script in several ways, and compares each outcome with the script's.
func (s script) play(t *testing.T) {
	t.Helper()
	t.Parallel()
	for name, way := range map[string]struct {
		reuse bool
		opts  []hailtest.Option
	}{
		"in one write":         {},
		"in one write, reused": {reuse: true},
		"over TCP":             {opts: []hailtest.Option{hailtest.TCP()}},
		"byte by byte":         {opts: []hailtest.Option{hailtest.BufferSize(1)}},
		"byte by byte, reused": {opts: []hailtest.Option{hailtest.BufferSize(1)}, reuse: true},
	} {
		if strings.HasPrefix(name, "byte by byte") && len(s.send) > 4<<10 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := s.opts
			opts.ReuseBuffers = way.reuse
			server, ends := echo(opts)
			p := hailtest.Dial(t, server, "/", append(way.opts, hailtest.Raw(),
				hailtest.Header("Sec-WebSocket-Extensions", s.offer))...)
			got, pongs := apart(converse(t, p, s.send))
			want, wantPongs := apart(s.want)
			if !slices.Equal(got, want) || !slices.Equal(pongs, wantPongs) {
				t.Errorf("got %q and %q\nwant %q and %q", got, pongs, want, wantPongs)
			}
			wantCause := cmp.Or(s.cause, hail.CausePeerClosed)
			if info := kit.Await(t, "OnClose", ends, kit.Ample); info.Cause != wantCause {
				t.Errorf("OnClose: got cause %q (%v), want %q", info.Cause, info.Err, wantCause)
			}
		})
	}
}

// apart separates the pongs from the other frames.
func apart(list []string) (others, pongs []string) {
	for _, f := range list {
		if strings.HasPrefix(f, "pong") {
			pongs = append(pongs, f)
		} else {
			others = append(others, f)
		}
	}
	return others, pongs
}

// converse sends b and returns the server's frames until it has ended the connection.
func converse(t *testing.T, p *hailtest.Peer, b []byte) (got []string) {
	t.Helper()
	conn := p.NetConn()
	conn.SetDeadline(time.Now().Add(kit.Ample))
	sent := make(chan struct{})
	go func() { // ends with the connection
		defer close(sent)
		conn.Write(b) // the server may close before it has read all
	}()
	r := bufio.NewReader(conn)
	for {
		f, err := readFrame(r)
		if err != nil {
			if err != io.EOF {
				t.Errorf("after %q: got %v, want EOF", got, err)
			}
			break
		}
		if f.RSV1 && p.Response.Header.Get("Sec-WebSocket-Extensions") != "" {
			f.RSV1, f.Payload = false, kit.Inflated(t, f.Payload)
		}
		got = append(got, show(f))
		if f.Opcode == hailtest.OpClose {
			<-sent
			p.CloseWrite() // the server may wait for the client's end
		}
	}
	conn.Close()
	<-sent
	return got
}
