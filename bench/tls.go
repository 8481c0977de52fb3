package main

// The load over TLS, with a goroutine for each connection.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// echoTLS is echo over TLS, with one request in flight.
func echoTLS(ctx context.Context, l *load) (sample, error) {
	conns := make([]net.Conn, l.conns)
	for i := range conns {
		nc, err := dialTLS(ctx, l.server.addr)
		if err != nil {
			return sample{}, fmt.Errorf("connection %d: %w", i, err)
		}
		defer nc.Close()
		conns[i] = nc
	}
	var phase atomic.Int32
	var group sync.WaitGroup
	errs := make([]error, l.conns)
	tallies := make([]tally, l.conns)
	for i, nc := range conns {
		group.Go(func() { errs[i] = l.echoOver(nc, &phase, &tallies[i]) }) // ends when over; waited for below
	}
	time.Sleep(l.warm)
	m, err := l.begin()
	phase.Store(measuring)
	time.Sleep(l.span)
	phase.Store(draining)
	if err == nil {
		err = m.stop()
	}
	group.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return sample{}, err
	}
	return m.sample(merge(tallies))
}

// echoOver has one connection echo until the phase is draining, and checks its first and its last reply.
func (l *load) echoOver(nc net.Conn, phase *atomic.Int32, t *tally) error {
	content := payload(l.size, false)
	request := clientFrame(content, false)
	reply := make([]byte, len(serverFrame(content)))
	for first := true; ; first = false {
		sent := time.Now()
		if _, err := nc.Write(request); err != nil {
			return fmt.Errorf("write a request: %w", err)
		}
		if _, err := io.ReadFull(nc, reply); err != nil {
			return fmt.Errorf("read a reply: %w", err)
		}
		now := phase.Load()
		if now == measuring {
			t.add(time.Since(sent), 1)
		}
		if first || now == draining {
			m, err := parseMessage(reply)
			if err == nil {
				err = m.check(content, false)
			}
			if err != nil || now == draining {
				return err
			}
		}
	}
}

func dialTLS(ctx context.Context, addr string) (net.Conn, error) {
	// The certificate was made a moment ago, for this run.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(3 * patience * time.Second)); err != nil {
		nc.Close()
		return nil, err
	}
	if _, err = nc.Write(handshake(addr, false)); err == nil {
		err = readAnswer(nc.Read)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}
