package main

// The load of handshakes, in goroutines that block.

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// handshakes opens and resets connections, as many at a time as the case has.
func handshakes(ctx context.Context, l *load) (sample, error) {
	if _, err := l.handshakes(ctx, l.warm); err != nil {
		return sample{}, err
	}
	m, err := l.begin()
	if err != nil {
		return sample{}, err
	}
	t, err := l.handshakes(ctx, l.span)
	if err != nil {
		return sample{}, err
	}
	if err := m.stop(); err != nil {
		return sample{}, err
	}
	return m.sample(t)
}

func (l *load) handshakes(ctx context.Context, span time.Duration) (*tally, error) {
	request := handshake(l.server.addr, false)
	end := time.Now().Add(span)
	var group sync.WaitGroup
	errs := make([]error, l.conns)
	tallies := make([]tally, l.conns)
	for i := range l.conns {
		group.Go(func() { // ends with the span; waited for below
			for ctx.Err() == nil && time.Now().Before(end) {
				begin := time.Now()
				fd, err := dial(l.server.addr, i, request)
				if err != nil {
					errs[i] = err
					return
				}
				tallies[i].add(time.Since(begin), 1)
				unix.Close(fd)
			}
			errs[i] = ctx.Err()
		})
	}
	group.Wait()
	return merge(tallies), errors.Join(errs...)
}
