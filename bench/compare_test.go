package main

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	r := small(t, "^(echo-128|idle)$", "hail,gws")
	if err := r.compareWith("HEAD"); err != nil {
		t.Fatal(err)
	}
	checkSamples(t, r)
	if got := r.comparison(); !strings.Contains(got, "\n| Echo of 128 B, 1 in flight, 100 connections | hail | CPU us a message | ") {
		t.Errorf("no line for the echo in\n%s", got)
	}
}

func TestComparison(t *testing.T) {
	t.Parallel()
	r := twoRounds()
	if err := r.compareWith("HEAD"); err != nil {
		t.Fatal(err)
	}
	r.results[key{"burst", "hail" + atBase}] = r.results[key{"burst", "gws"}]
	got := r.comparison()
	if want := "| Burst & more | hail | CPU us a delivery | 8.00 | 3.00 | 0.375 | 0.250 to 0.500 |\n"; !strings.Contains(got, want) {
		t.Errorf("no line %q in\n%s", want, got)
	}
	if want := "\n- a note"; !strings.HasSuffix(got, want) {
		t.Errorf("want %q at the end of\n%s", want, got)
	}
}

func TestCompareRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ peers, revision string }{
		"no hail":          {"gws", "HEAD"},
		"no such revision": {"hail", "no-such-revision"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := small(t, "^echo-128$", tc.peers)
			err := r.compareWith(tc.revision)
			if err == nil {
				err = r.all(t.Context())
			}
			if err == nil {
				t.Error("got no error")
			}
		})
	}
}
