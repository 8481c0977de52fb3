package main

// What a load has done, and what the server took for it.

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// tally counts what was done and how long it took.
type tally struct {
	n    int
	took []time.Duration
}

func (t *tally) add(took time.Duration, n int) {
	t.n += n
	t.took = append(t.took, took)
}

// quantile returns the time that the fraction q did not exceed. What took has is in order.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	return t.took[int(q*float64(len(t.took)-1))]
}

// meter measures the server between two moments.
type meter struct {
	server       *server
	user, system float64
	at           time.Time
}

// begin starts to measure, and a profile where there shall be one.
func (l *load) begin() (meter, error) {
	if l.profile != "" {
		if err := l.server.do(fmt.Sprintf("profile cpu %d %s", max(1, int(l.span.Seconds())), l.profile)); err != nil {
			return meter{}, err
		}
	}
	user, system, err := l.server.usage()
	return meter{l.server, user, system, time.Now()}, err
}

func (m meter) end(t *tally) (sample, error) {
	span := time.Since(m.at).Seconds()
	user, system, err := m.server.usage()
	if err != nil {
		return sample{}, err
	}
	if t.n == 0 {
		return sample{}, errors.New("nothing was done in time")
	}
	memory, err := m.server.resident()
	slices.Sort(t.took)
	n := float64(t.n)
	return sample{
		rate: n / span, user: (user - m.user) / n, system: (system - m.system) / n,
		p50: t.quantile(0.50), p99: t.quantile(0.99), memory: memory,
	}, err
}
