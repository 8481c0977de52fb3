package main

// The load over TLS, which needs a goroutine a connection.

import (
	"bytes"
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

// echoTLS is echo over TLS.
func echoTLS(ctx context.Context, l *load) (sample, error) {
	request := clientFrame(payload(l.size, false), false)
	conns := make([]net.Conn, l.conns)
	for i := range conns {
		nc, err := dialTLS(ctx, l.server.addr)
		if err != nil {
			return sample{}, fmt.Errorf("connection %d: %w", i, err)
		}
		defer nc.Close()
		conns[i] = nc
	}
	const size = 4 + 128
	var mu sync.Mutex
	var group sync.WaitGroup
	var measured, over atomic.Bool
	t := &tally{}
	errs := make([]error, l.conns)
	for i, nc := range conns {
		group.Go(func() { // ends when over; waited for below
			reply := make([]byte, size)
			for !over.Load() {
				sent := time.Now()
				_, err := nc.Write(request)
				if err == nil {
					_, err = io.ReadFull(nc, reply)
				}
				if err != nil {
					errs[i] = err
					return
				}
				if measured.Load() {
					took := time.Since(sent)
					mu.Lock()
					t.add(took, 1)
					mu.Unlock()
				}
			}
			if !bytes.HasSuffix(reply, payload(l.size, false)) {
				errs[i] = errors.New("the reply is not the request")
			}
		})
	}
	time.Sleep(max(l.span/3, 300*time.Millisecond))
	m, err := l.begin()
	measured.Store(true)
	time.Sleep(l.span)
	measured.Store(false)
	mu.Lock()
	done := *t
	mu.Unlock()
	result, err2 := m.end(&done)
	over.Store(true)
	group.Wait()
	return result, errors.Join(append(errs, err, err2)...)
}

func dialTLS(ctx context.Context, addr string) (net.Conn, error) {
	// The certificate was made a moment ago, for this run.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(3 * patience * time.Second))
	if _, err := nc.Write(handshake(addr, false)); err != nil {
		return nil, err
	}
	answer := make([]byte, 0, 1024)
	for !bytes.HasSuffix(answer, []byte("\r\n\r\n")) {
		n, err := nc.Read(answer[len(answer):cap(answer)])
		if err != nil {
			return nil, fmt.Errorf("read the handshake: %w", err)
		}
		answer = answer[:len(answer)+n]
	}
	return nc, nil
}
