package admit_test

// The limits on connections.

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/hail/internal/admit"
)

// enter enters and checks the refusal's status; 0 is no refusal.
func enter(t *testing.T, g *admit.Gate, addr string, want int) {
	t.Helper()
	refusal := g.Enter(addr)
	got := 0
	if refusal != nil {
		got = refusal.Status
		if n, err := strconv.Atoi(refusal.Header.Get("Retry-After")); err != nil || n < 1 || n > 5 {
			t.Errorf("Enter(%q): got Retry-After %q, want 1 to 5", addr, refusal.Header.Get("Retry-After"))
		}
	}
	if got != want {
		t.Errorf("Enter(%q): got %d, want %d", addr, got, want)
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestGateWithoutLimits(t *testing.T) {
	t.Parallel()
	for _, off := range []int{0, -1} {
		g := admit.NewGate(off, off)
		if got := g.Addr("192.0.2.1:1"); got != "" {
			t.Errorf("Addr with limit %d: got %q, want none", off, got)
		}
		for range 1000 {
			enter(t, g, "", 0)
		}
		if got := g.Len(); got != 1000 {
			t.Errorf("Len: got %d, want 1000", got)
		}
	}
}

func TestGateLimits(t *testing.T) {
	t.Parallel()
	g := admit.NewGate(3, 2)
	enter(t, g, "a", 0)
	enter(t, g, "a", 0)
	enter(t, g, "a", http.StatusTooManyRequests)
	enter(t, g, "b", 0)
	enter(t, g, "c", http.StatusServiceUnavailable)
	enter(t, g, "a", http.StatusServiceUnavailable) // the whole server's limit is checked first
	g.Leave("b")
	enter(t, g, "a", http.StatusTooManyRequests)
	g.Leave("a")
	enter(t, g, "a", 0)
	enter(t, g, "b", 0)
	for _, addr := range []string{"a", "a", "b"} {
		g.Leave(addr)
	}
	if got := g.Len(); got != 0 {
		t.Errorf("Len: got %d, want 0", got)
	}
	if isClosed(g.Empty()) {
		t.Error("Empty is closed, but the gate is not")
	}
	for _, detail := range []struct {
		gate *admit.Gate
		want string
	}{{admit.NewGate(1, 0), "1 connections (Options.MaxConns)"}, {admit.NewGate(0, 1), "1 connections from x (Options.MaxConnsPerIP)"}} {
		enter(t, detail.gate, "x", 0)
		if got := detail.gate.Enter("x"); got == nil || got.Detail != detail.want || strings.Contains(got.Text, "Options") {
			t.Errorf("got %+v, want detail %q, and a text without it", got, detail.want)
		}
	}
}

func TestGateClose(t *testing.T) {
	t.Parallel()
	empty := admit.NewGate(0, 0)
	empty.Close()
	empty.Close()
	if !isClosed(empty.Empty()) {
		t.Error("nobody was in: Empty is open after Close")
	}
	enter(t, empty, "", http.StatusServiceUnavailable)

	g := admit.NewGate(0, 1)
	enter(t, g, "a", 0)
	enter(t, g, "b", 0)
	g.Close()
	g.Close()
	enter(t, g, "c", http.StatusServiceUnavailable)
	for i, addr := range []string{"a", "b"} {
		if isClosed(g.Empty()) {
			t.Errorf("%d are in: Empty is closed", 2-i)
		}
		g.Leave(addr)
	}
	if !isClosed(g.Empty()) || g.Len() != 0 {
		t.Errorf("all have left: Empty closed %v, Len %d, want true, 0", isClosed(g.Empty()), g.Len())
	}
}

// TestGateFromManyGoroutines checks the limits while goroutines enter and leave, and one closes the gate meanwhile.
func TestGateFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, most, mostEach = 16, 5, 2
	g := admit.NewGate(most, mostEach)
	var in, all atomic.Int64
	var each [4]atomic.Int64
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			addr := i % len(each)
			for n := range 1000 {
				if i == 0 && n == 500 {
					g.Close()
				}
				if g.Enter(strconv.Itoa(addr)) != nil {
					continue
				}
				all.Add(1)
				if n := in.Add(1); n > most {
					t.Errorf("got %d in, want at most %d", n, most)
				}
				if n := each[addr].Add(1); n > mostEach {
					t.Errorf("got %d in from one address, want at most %d", n, mostEach)
				}
				each[addr].Add(-1)
				in.Add(-1)
				g.Leave(strconv.Itoa(addr))
			}
		})
	}
	wg.Wait()
	if all.Load() == 0 || g.Len() != 0 || !isClosed(g.Empty()) {
		t.Errorf("got %d entered, %d left in, Empty closed %v, want some, 0, true", all.Load(), g.Len(), isClosed(g.Empty()))
	}
}

func TestAddr(t *testing.T) {
	t.Parallel()
	g := admit.NewGate(0, 1)
	for remote, want := range map[string]string{
		"192.0.2.1:40":       "192.0.2.1",
		"192.0.2.1":          "192.0.2.1",
		"[2001:db8::1]:1":    "2001:db8::/64",
		"[2001:db8::1]":      "2001:db8::/64",
		"2001:db8::ffff":     "2001:db8::/64",
		"2001:db8:0:1::1":    "2001:db8:0:1::/64",
		"[::ffff:c000:201]":  "192.0.2.1",
		"::ffff:192.0.2.1":   "192.0.2.1",
		"[fe80::1%eth0]:443": "fe80::/64",
		"@":                  "@",
		"":                   "",
		"pipe":               "pipe",
	} {
		if got := g.Addr(remote); got != want {
			t.Errorf("Addr(%q): got %q, want %q", remote, got, want)
		}
	}
}

func TestGateClosed(t *testing.T) {
	t.Parallel()
	g := admit.NewGate(1, 0)
	enter(t, g, "", 0)
	if refusal := g.Closed(); refusal != nil {
		t.Errorf("Closed of a gate that is full: got %d, want nil", refusal.Status)
	}
	g.Close()
	if refusal := g.Closed(); refusal == nil || refusal.Status != http.StatusServiceUnavailable || refusal.Header.Get("Retry-After") == "" {
		t.Errorf("Closed of a closed gate: got %+v, want 503 with Retry-After", refusal)
	}
}
