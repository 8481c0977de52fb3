package hail_test

// What the tests share: callbacks that tell, checks of how connections end, and frames made by hand.

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

// overBubbles runs a test in a synctest bubble over each transport that can be in one.
func overBubbles(t *testing.T, test func(t *testing.T, opts ...hailtest.Option)) {
	t.Helper()
	for name, opts := range map[string][]hailtest.Option{
		"memory":            nil,
		"memory tls":        {hailtest.TLS(nil)},
		"memory compressed": {hailtest.Compression()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, append(opts, hailtest.Timeout(time.Hour))...) })
		})
	}
}

// events are what a server's callbacks tell a test.
type events struct {
	conns  chan *hail.Conn
	msgs   chan hail.Message
	closed chan hail.CloseInfo
	errs   chan error
}

// observed returns h with what it leaves out told to a test instead.
func observed(h hail.Handler) (hail.Handler, events) {
	const most = 1 << 12
	e := events{make(chan *hail.Conn, most), make(chan hail.Message, most), make(chan hail.CloseInfo, most), make(chan error, most)}
	if h.OnConnect == nil {
		h.OnConnect = func(c *hail.Conn, _ *http.Request) error { e.conns <- c; return nil }
	}
	if h.OnMessage == nil {
		h.OnMessage = func(_ *hail.Conn, m hail.Message) error { e.msgs <- m; return nil }
	}
	if h.OnClose == nil {
		h.OnClose = func(_ *hail.Conn, info hail.CloseInfo) { e.closed <- info }
	}
	if h.OnError == nil {
		h.OnError = func(_ *hail.Conn, err error) { e.errs <- err }
	}
	return h, e
}

// await returns what comes next on ch, and fails the test if that takes longer than d.
func await[T any](t *testing.T, what string, ch <-chan T, d time.Duration) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("%s: got nothing within %v", what, d)
		panic("unreachable")
	}
}

// ample is a time for what happens at once, on however slow a machine.
const ample = 30 * time.Second

// checkDelay says whether something that began at start has happened when a timeout was over:
// never early, and late by two looks of the sweep at most, which has eight in the shortest timeout.
func checkDelay(t *testing.T, what string, start time.Time, timeout time.Duration) {
	t.Helper()
	if took := time.Since(start); took < timeout || took > timeout+min(timeout/4, time.Second)+10*time.Millisecond {
		t.Errorf("%s: took %v, want %v or little more", what, took, timeout)
	}
}

// checkClosed holds a CloseInfo against its code and cause; one that is not clean has an error.
func checkClosed(t *testing.T, got hail.CloseInfo, code hail.StatusCode, cause hail.Cause, clean bool) {
	t.Helper()
	if got.Code != code || got.Cause != cause || (got.Err == nil) != clean {
		t.Errorf("CloseInfo: got %d, %v, error %v; want %d, %v, an error: %v", got.Code, got.Cause, got.Err, code, cause, !clean)
	}
}

// checkNames says whether an error's text names all of the words.
func checkNames(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error: got %v, want it to name %q", err, word)
		}
	}
}

// message returns the bytes of a whole frame.
func message(data []byte) []byte {
	return hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Payload: data}.Bytes()
}

// fragments returns the bytes of a message in frames of the given sizes and a last one.
func fragments(rsv1 bool, data []byte, sizes ...int) []byte {
	var b []byte
	opcode := hailtest.OpBinary
	for _, size := range sizes {
		b = append(b, hailtest.Frame{RSV1: rsv1, Opcode: opcode, Payload: data[:size]}.Bytes()...)
		data, opcode, rsv1 = data[size:], hailtest.OpContinuation, false
	}
	return append(b, hailtest.Frame{Fin: true, RSV1: rsv1, Opcode: opcode, Payload: data}.Bytes()...)
}

const deflateTail = "\x00\x00\xff\xff"

// deflated returns data as the payload of a frame with RSV1.
func deflated(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
}

// inflated reverses deflated.
func inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(deflateTail+"\x01\x00\x00\xff\xff")))
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return data
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(n) + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}
