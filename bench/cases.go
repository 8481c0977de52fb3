package main

// The cases that are measured.

import (
	"context"
	"path/filepath"
	"time"
)

// bcase is a case: one kind of load.
type bcase struct {
	name     string // for -cases
	brief    string // for the plot
	title    string
	unit     string // counted by the rate and the CPU time
	conns    int
	size     int // bytes of a message
	inFlight int // messages that a connection has sent and whose replies have not arrived
	times    int // the span, in multiples of other cases'; in a longer span messages in flight at its ends count less
	tls      bool
	compress bool
	messages int           // to publish
	interval time.Duration // between them
	load     func(context.Context, *load) (sample, error)
}

var allCases = []bcase{
	{name: "echo-128", brief: "Echo of 128 B", title: "Echo of 128 B, 1 in flight, 100 connections",
		unit: "message", conns: 100, size: 128, inFlight: 1, load: echo},
	{name: "echo-128x16", brief: "Echo of 128 B, 16 in flight", title: "Echo of 128 B, 16 in flight, 100 connections",
		unit: "message", conns: 100, size: 128, inFlight: 16, load: echo},
	{name: "echo-16K", brief: "Echo of 16 KiB", title: "Echo of 16 KiB, 1 in flight, 100 connections",
		unit: "message", conns: 100, size: 16 << 10, inFlight: 1, load: echo},
	{name: "echo-1M", brief: "Echo of 1 MiB", title: "Echo of 1 MiB, 1 in flight, 100 connections",
		unit: "message", conns: 100, size: 1 << 20, inFlight: 1, times: 3, load: echo},
	{name: "echo-5000", brief: "Echo of 128 B, 5,000 connections", title: "Echo of 128 B, 1 in flight, 5,000 connections",
		unit: "message", conns: 5000, size: 128, inFlight: 1, times: 2, load: echo},
	{name: "tls", brief: "Echo of 128 B over TLS", title: "Echo of 128 B over TLS, 1 in flight, 100 connections",
		unit: "message", conns: 100, size: 128, inFlight: 1, tls: true, load: echoTLS},
	{name: "compressed", brief: "Echo of 2 KiB of JSON, compressed", title: "Echo of 2 KiB of JSON, compressed, 1 in flight, 100 connections",
		unit: "message", conns: 100, size: 2 << 10, inFlight: 1, compress: true, load: echo},
	{name: "burst", brief: "500 messages at once to 1,000 connections", title: "500 messages of 128 B published at once to 1,000 connections",
		unit: "delivery", conns: 1000, size: 128, messages: 500, load: publish},
	{name: "stream", brief: "A message a millisecond to 1,000 connections",
		title: "A message of 128 B a millisecond, 500 in all, published to 1,000 connections",
		unit:  "delivery", conns: 1000, size: 128, messages: 500, interval: time.Millisecond, load: publish},
	{name: "handshake", brief: "Handshakes", title: "Handshakes, 8 at a time", unit: "handshake", conns: 8, load: handshakes},
	{name: "idle", brief: "10,000 idle connections", title: "10,000 idle connections", conns: 10000, size: 128, inFlight: 1, load: idle},
}

// load is a case that runs against one server.
type load struct {
	bcase
	server  *server
	warm    time.Duration // before the measurement
	span    time.Duration // of the measurement
	settle  time.Duration // before memory is measured
	profile string        // file to write a profile to, "" for none
}

// measure runs a case with a peer once.
func (r *run) measure(ctx context.Context, t *tools, c bcase, p peer) (sample, error) {
	// Both ends hold a descriptor for each connection, and some more.
	if most := r.files - 200; c.conns > most {
		r.note("%s: %d connections, since a process may hold %d open files here", c.name, most, r.files)
		c.conns = most
	}
	ctx, cancel := context.WithTimeout(ctx, r.span+2*time.Minute)
	defer cancel()
	s, err := t.start(ctx, p, c)
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	l := &load{bcase: c, server: s, warm: r.warm, settle: r.settle, span: r.span * time.Duration(max(1, c.times))}
	if r.profile != "" && p.goServer {
		l.profile = filepath.Join(r.profile, c.name+"-"+p.name+".pprof")
	}
	return c.load(ctx, l)
}

// echo keeps inFlight messages in flight on each connection.
func echo(ctx context.Context, l *load) (sample, error) {
	flows, err := connect(ctx, l.server, l.conns, l.compress)
	if err != nil {
		return sample{}, err
	}
	defer flows.close()
	request := clientFrame(payload(l.size, l.compress), l.compress)
	reply, err := flows.calibrate(l, request)
	if err != nil {
		return sample{}, err
	}
	result, err := flows.echo(l, request, reply)
	if err == nil {
		_, err = flows.calibrate(l, request) // still right
	}
	return result, err
}

// publish has the server send messages of its own to every connection.
func publish(ctx context.Context, l *load) (sample, error) {
	flows, err := connect(ctx, l.server, l.conns, false)
	if err != nil {
		return sample{}, err
	}
	defer flows.close()
	// A server may answer a handshake before it has registered the connection; an echo comes later.
	if _, err := flows.calibrate(l, clientFrame(payload(l.size, false), false)); err != nil {
		return sample{}, err
	}
	warm := *l
	warm.profile = ""
	if _, err := flows.receive(&warm, max(1, l.messages/10), true); err != nil {
		return sample{}, err
	}
	return flows.receive(l, l.messages, false)
}

// idle measures the memory of connections that have exchanged one message each.
func idle(ctx context.Context, l *load) (sample, error) {
	before, err := l.server.settled(l.settle)
	if err != nil {
		return sample{}, err
	}
	flows, err := connect(ctx, l.server, l.conns, false)
	if err != nil {
		return sample{}, err
	}
	defer flows.close()
	request := clientFrame(payload(l.size, false), false)
	if _, err := flows.calibrate(l, request); err != nil {
		return sample{}, err
	}
	after, err := l.server.settled(l.settle)
	return sample{memory: (after - before) * 1024 / float64(l.conns)}, err
}
