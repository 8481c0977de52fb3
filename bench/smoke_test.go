package main

import (
	"io"
	"testing"
	"time"
)

// small returns a small and short run of the chosen cases and peers.
func small(t *testing.T, cases, names string) *run {
	t.Helper()
	r := &run{rounds: 1, warm: 20 * time.Millisecond, span: 50 * time.Millisecond, settle: 20 * time.Millisecond, progress: io.Discard}
	if err := r.choose(cases, names); err != nil {
		t.Fatal(err)
	}
	for i := range r.cases {
		c := &r.cases[i]
		c.conns = min(c.conns, 10)
		c.messages = min(c.messages, 50)
		c.times = 1
	}
	return r
}

// checkSamples runs r, and checks that each turn has a sample.
func checkSamples(t *testing.T, r *run) {
	t.Helper()
	if err := r.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.notes) > 0 {
		t.Errorf("notes: %q, want none", r.notes)
	}
	for _, turn := range r.turns() {
		samples := r.results[key{turn.bcase.name, turn.peer.name}]
		if len(samples) != 1 {
			t.Errorf("%s, %s: %d samples, want 1", turn.bcase.name, turn.peer.name, len(samples))
			continue
		}
		s := samples[0]
		if turn.bcase.unit != "" && (s.rate <= 0 || s.cpu() < 0 || s.p50 <= 0 || s.p99 < s.p50 || s.memory <= 0) {
			t.Errorf("%s, %s: %+v, want a rate, times and memory", turn.bcase.name, turn.peer.name, s)
		}
	}
}

func TestEveryCase(t *testing.T) {
	t.Parallel()
	checkSamples(t, small(t, ".", "hail,gws"))
}

func TestFloors(t *testing.T) {
	t.Parallel()
	checkSamples(t, small(t, "^echo-(128x16|1M)$", "floor,floor-epoll"))
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ pattern, names string }{
		"not an expression": {"(", "hail"},
		"no such case":      {"^nothing$", "hail"},
		"no such peer":      {".", "hail,nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := new(run).choose(tc.pattern, tc.names); err == nil {
				t.Error("got no error")
			}
		})
	}
	t.Run("in the order given", func(t *testing.T) {
		t.Parallel()
		var r run
		if err := r.choose("^(tls|idle)$", "gws,hail"); err != nil {
			t.Fatal(err)
		}
		if len(r.cases) != 2 || len(r.peers) != 2 || r.peers[0].name != "gws" {
			t.Errorf("got %d cases and peers %v, want 2 and gws, hail", len(r.cases), r.peers)
		}
	})
}
