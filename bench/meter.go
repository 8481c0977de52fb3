package main

// The results of a load, and the cost to the server.

import (
	"errors"
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

// merge returns one tally of several.
func merge(tallies []tally) *tally {
	all := &tally{}
	for _, t := range tallies {
		all.n += t.n
		all.took = append(all.took, t.took...)
	}
	return all
}

// quantile returns the time that the fraction q did not exceed. took is in order.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	return t.took[int(q*float64(len(t.took)-1))]
}

// meter measures the server between two moments.
type meter struct {
	server       *server
	begun        time.Time
	span         time.Duration // from the first moment to the second
	user, system float64       // microseconds: at the first moment, then between the two
	memory       float64
}

// begin starts to measure, and starts a profile if the load has one: it lasts until the server exits.
func (l *load) begin() (m meter, err error) {
	if l.profile != "" {
		if err := l.server.do("profile cpu 60 " + l.profile); err != nil {
			return m, err
		}
	}
	m.server = l.server
	m.user, m.system, err = l.server.usage()
	m.begun = time.Now()
	return m, err
}

// stop ends the measurement.
func (m *meter) stop() error {
	m.span = time.Since(m.begun)
	user, system, err := m.server.usage()
	if err != nil {
		return err
	}
	m.user, m.system = user-m.user, system-m.system
	m.memory, err = m.server.resident()
	return err
}

// sample returns the results of the time in which the tally was made.
func (m *meter) sample(t *tally) (sample, error) {
	if t.n == 0 {
		return sample{}, errors.New("nothing was done in time")
	}
	slices.Sort(t.took)
	n := float64(t.n)
	return sample{
		rate: n / m.span.Seconds(), user: m.user / n, system: m.system / n,
		p50: t.quantile(0.50), p99: t.quantile(0.99), memory: m.memory,
	}, nil
}
