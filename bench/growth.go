package main

// How memory grows with idle connections, and their cost while nothing arrives.

import (
	"context"
	"fmt"
	"io"
	"time"
)

// idleSpan is how long idle connections are watched: shorter than any heartbeat's interval.
const idleSpan = 5 * time.Second

// growth measures the memory of more and more idle connections of each peer, and prints a table.
func (r *run) growth(ctx context.Context, w io.Writer) error {
	var err error
	if r.files, err = raiseFileLimit(); err != nil {
		return err
	}
	tools, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer tools.remove()
	fmt.Fprintln(w, "| peer | idle connections | KB each | CPU while idle | a GC cycle | stopped | its CPU |\n|---|--:|--:|--:|--:|--:|--:|")
	for _, p := range r.peers {
		for _, n := range []int{1000, 5000, 10000, 18000} {
			if n > r.files-200 {
				fmt.Fprintf(w, "| %s | %d | more than a process may open (%d) |\n", p.name, n, r.files)
				continue
			}
			row, err := r.weigh(ctx, tools, p, n)
			if err != nil {
				return fmt.Errorf("%s, %d connections: %w", p.name, n, err)
			}
			fmt.Fprintln(w, row)
		}
	}
	return nil
}

// weigh returns the row of one peer with n connections.
func (r *run) weigh(ctx context.Context, t *tools, p peer, n int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := bcase{name: "growth", conns: n, size: 128, inFlight: 1}
	s, err := t.start(ctx, p, c)
	if err != nil {
		return "", err
	}
	defer s.stop()
	before, err := s.settled(r.settle)
	if err != nil {
		return "", err
	}
	l := &load{bcase: c, server: s, settle: r.settle}
	flows, err := connect(ctx, s, n, false)
	if err != nil {
		return "", err
	}
	defer flows.close()
	if _, err := flows.calibrate(l, clientFrame(payload(c.size, false), false)); err != nil {
		return "", err
	}
	after, err := s.settled(r.settle)
	if err != nil {
		return "", err
	}
	user, system, err := s.usage()
	if err != nil {
		return "", err
	}
	time.Sleep(idleSpan)
	user2, system2, err := s.usage()
	if err != nil {
		return "", err
	}
	share := (user2 + system2 - user - system) / float64(idleSpan.Microseconds())
	row := fmt.Sprintf("| %s | %d | %.2f | %.2f %% |", p.name, n, (after-before)*1024/float64(n), 100*share)
	if !p.goServer {
		return row + " | | |", nil
	}
	answer, err := s.ask("cycle")
	if err != nil {
		return "", err
	}
	var took, stopped, cpu float64
	if _, err := fmt.Sscan(answer, &took, &stopped, &cpu); err != nil {
		return "", fmt.Errorf("cycle: %q: %w", answer, err)
	}
	return row + fmt.Sprintf(" %.1f ms | %.2f ms | %.1f ms |", took/1000, stopped/1000, cpu/1000), nil
}
