package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, samples := range map[float64][]float64{0: nil, 7: {7}, 2: {3, 1, 2}, 2.5: {4, 1, 2, 3}} {
		if got := median(samples, func(v float64) float64 { return v }); got != want {
			t.Errorf("median of %v = %v, want %v", samples, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var all tally
	for i := range 101 {
		all.add(time.Duration(i), 1)
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 50, 0.99: 99, 1: 100} {
		if got := all.quantile(q); got != want {
			t.Errorf("quantile(%v) = %d, want %d", q, got, want)
		}
	}
}

// twoRounds has a peer that costs twice as much as hail in one round, four times in another, and failed in a third.
func twoRounds() *run {
	of := func(round int, user, system, rate float64) sample {
		return sample{round: round, user: user, system: system, rate: rate, p50: time.Millisecond, p99: time.Second, memory: 10}
	}
	return &run{
		peers: []peer{{name: "hail"}, {name: "gws"}, {name: "bun"}},
		cases: []bcase{{name: "burst", brief: "Burst & more", title: "Burst & more", unit: "delivery"}},
		results: map[key][]sample{
			{"burst", "hail"}: {of(0, 1, 1, 100), of(1, 50, 50, 1), of(2, 2, 1, 50)},
			{"burst", "gws"}:  {of(0, 3, 1, 200), of(2, 8, 4, 200)},
		},
		notes: []string{"a note"},
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	r := twoRounds()
	cost := r.cases[0].cost
	t.Run("of the same round", func(t *testing.T) {
		t.Parallel()
		if got, want := r.ratio("burst", "hail", "gws", cost), (0.5+0.25)/2; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("of the time", func(t *testing.T) {
		t.Parallel()
		if got, want := r.ratio("burst", "hail", "gws", pace), (2.0+4.0)/2; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("without the other", func(t *testing.T) {
		t.Parallel()
		if got := r.ratio("burst", "hail", "bun", cost); got != 0 {
			t.Errorf("got %v, want 0", got)
		}
	})
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	got := twoRounds().markdown("-out .")
	for _, want := range []string{
		"## Burst & more", "| peer | deliveries/s | CPU us a delivery |",
		"| gws | 200 | 8.00 | 5.50 | 2.50 | 1.0 ms | 1000 ms | 10 | 0.38 |  |",
		"| Burst & more | 0.25 of gws's server CPU | 0.38 |  |",
		"- a note",
	} {
		if !strings.Contains(got, want+"\n") && !strings.Contains(got, want+" ") {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\n| bun | 0") {
		t.Errorf("a peer without samples has a line:\n%s", got)
	}
}

func TestPlot(t *testing.T) {
	t.Parallel()
	got := twoRounds().plot()
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, got)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 2 {
		t.Errorf("got %d bars, want one for each peer that has samples: 2", bars)
	}
}
