package hailtest_test

import (
	"errors"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestOverwrite(t *testing.T) {
	t.Parallel()
	fail := errors.New("from the callback")
	var seen string
	var kept []byte
	h := hailtest.Overwrite(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
		seen, kept = m.String(), m.Data
		if m.String() == "panic" {
			panic("as told")
		}
		return fail
	}})
	if err := h.OnMessage(nil, hail.Text("abc")); err != fail {
		t.Errorf("got error %v, want the callback's", err)
	}
	if seen != "abc" || string(kept) != "\xaa\xaa\xaa" {
		t.Errorf("the callback saw %q and kept %q, want abc and 3 times 0xAA", seen, kept)
	}
	func() {
		defer func() {
			if got := recover(); got != "as told" {
				t.Errorf("got panic %v, want the callback's", got)
			}
		}()
		h.OnMessage(nil, hail.Text("panic"))
	}()
	if string(kept) != "\xaa\xaa\xaa\xaa\xaa" {
		t.Errorf("after a panic: got %q kept, want 5 times 0xAA", kept)
	}
}

func TestOverwriteKeepsTheRest(t *testing.T) {
	t.Parallel()
	h := hailtest.Overwrite(hail.Handler{OnError: func(*hail.Conn, error) {}})
	if h.OnMessage != nil || h.OnError == nil {
		t.Errorf("got OnMessage set: %t, OnError set: %t, want only OnError", h.OnMessage != nil, h.OnError != nil)
	}
}

// TestOverwriteInAServer has a callback keep bytes that it may not keep: with ReuseBuffers they are garbage.
func TestOverwriteInAServer(t *testing.T) {
	t.Parallel()
	var kept [][]byte
	s := &hail.Server{
		Options: hail.Options{ReuseBuffers: true},
		Handler: hailtest.Overwrite(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			kept = append(kept, m.Data)
			if len(kept) == 1 {
				return c.Send(m)
			}
			return c.Send(hail.Binary(kept[0]))
		}}),
	}
	p := hailtest.Dial(t, s, "/")
	p.Send(hail.Text("abc"))
	if got := p.Receive(); got.String() != "abc" {
		t.Errorf("within the callback: got %q, want %q", got, "abc")
	}
	p.Send(hail.Text("x"))
	if got := p.Receive(); got.String() == "abc" {
		t.Errorf("after the callback: got %q, want anything else", got)
	}
}
