package main

// The load: one loop over all connections that writes prebuilt frames and counts bytes.

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Phases of an echo.
const (
	warming = iota
	measuring
	draining // nothing is sent any more
)

// exchange sends one request and returns the reply. It blocks.
func (f *flow) exchange(request []byte) (message, error) {
	if err := writeAll(f.fd, request); err != nil {
		return message{}, fmt.Errorf("write a request: %w", err)
	}
	b := make([]byte, 0, len(request)+1024)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := read(f.fd, b[len(b):cap(b)])
		if err != nil || n == 0 {
			return message{}, fmt.Errorf("read a reply: %d bytes, %v", n, err)
		}
		b = b[:len(b)+n]
		m, err := parseMessage(b)
		if err == nil && m.size < len(b) {
			err = fmt.Errorf("%d bytes more than the reply", len(b)-m.size)
		}
		if err != errPartial {
			return m, err
		}
	}
}

// calibrate returns the size of a reply, and checks the reply on each connection.
func (fs *flows) calibrate(l *load, request []byte) (size int, err error) {
	want := payload(l.size, l.compress)
	for i, f := range fs.all {
		if err := unix.SetNonblock(f.fd, false); err != nil {
			return 0, err
		}
		m, err := f.exchange(request)
		if err == nil {
			err = m.check(want, l.compress)
		}
		// The size of a compressed reply may vary: zlib may flush twice.
		if err == nil && i > 0 && m.size != size && !l.compress {
			err = fmt.Errorf("the reply has %d bytes, another connection's %d", m.size, size)
		}
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", i, err)
		}
		size = m.size
	}
	return size, nil
}

// watch makes epoll report connections that can be read. From then on nothing blocks.
func (fs *flows) watch() error {
	for i, f := range fs.all {
		if err := unix.SetNonblock(f.fd, true); err != nil {
			return err
		}
		err := unix.EpollCtl(fs.ep, unix.EPOLL_CTL_ADD, f.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		if err != nil && err != unix.EEXIST {
			return err
		}
	}
	return nil
}

// each calls got with the bytes that arrive for a connection, until got reports the end or nothing arrives.
func (fs *flows) each(got func(f *flow, b []byte) (end bool, err error)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, 256)
	scratch := make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(fs.ep, events, patience*1000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("no byte for %d s: %v", patience, err)
		}
		for _, e := range events[:n] {
			f := fs.all[e.Fd]
			if e.Events&unix.EPOLLOUT != 0 {
				if err := fs.write(f); err != nil {
					return err
				}
			}
			if e.Events&^uint32(unix.EPOLLOUT) == 0 {
				continue
			}
			n, err := unix.Read(f.fd, scratch)
			if err == unix.EAGAIN || err == unix.EINTR {
				continue
			}
			if err != nil || n == 0 {
				return fmt.Errorf("connection %d ended: %v", f.index, err)
			}
			if end, err := got(f, scratch[:n]); end || err != nil {
				return err
			}
		}
	}
}

// write writes the rest of a request.
func (fs *flows) write(f *flow) error {
	n, err := unix.Write(f.fd, f.unsent)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		return fmt.Errorf("write to connection %d: %w", f.index, err)
	}
	f.unsent = f.unsent[max(n, 0):]
	if waits := len(f.unsent) > 0; waits != f.waits {
		f.waits = waits
		events := uint32(unix.EPOLLIN)
		if waits {
			events |= unix.EPOLLOUT
		}
		return unix.EpollCtl(fs.ep, unix.EPOLL_CTL_MOD, f.fd, &unix.EpollEvent{Events: events, Fd: int32(f.index)})
	}
	return nil
}

// echo measures round trips. Each connection sends inFlight requests in one write, and the next after all replies. It
// counts replies by their bytes, or by their headers if they are compressed. The first part of the time is not measured.
// It returns when nothing is in flight any more.
func (fs *flows) echo(l *load, request []byte, reply int) (sample, error) {
	if err := fs.watch(); err != nil {
		return sample{}, err
	}
	requests, replies := bytes.Repeat(request, l.inFlight), reply*l.inFlight
	if l.compress {
		replies = l.inFlight
	}
	send := func(f *flow) error {
		f.unsent, f.want, f.sent = requests, replies, time.Now()
		return fs.write(f)
	}
	for _, f := range fs.all {
		if err := send(f); err != nil {
			return sample{}, err
		}
	}
	var m meter
	t := &tally{took: make([]time.Duration, 0, 1<<20)}
	warm := time.Now().Add(l.warm)
	phase, busy := warming, len(fs.all)
	err := fs.each(func(f *flow, b []byte) (bool, error) {
		f.want -= f.counted(l, b)
		if f.want > 0 {
			return false, nil
		}
		if f.want < 0 {
			return false, fmt.Errorf("connection %d: %d more came than was asked for", f.index, -f.want)
		}
		var err error
		now := time.Now()
		switch phase {
		case warming:
			if now.After(warm) {
				m, err = l.begin()
				phase = measuring
			}
		case measuring:
			t.add(now.Sub(f.sent), l.inFlight)
			if now.Sub(m.begun) > l.span {
				err = m.stop()
				phase = draining
			}
		}
		if err != nil {
			return false, err
		}
		if phase == draining {
			busy--
			return busy == 0, nil
		}
		return false, send(f)
	})
	if err != nil {
		return sample{}, err
	}
	return m.sample(t)
}

// counted returns how many messages of the replies b has, if they are compressed, else how many bytes.
func (f *flow) counted(l *load, b []byte) int {
	if l.compress {
		return f.counter.count(b)
	}
	return len(b)
}

// receive makes the server publish n messages, and measures until all have arrived on all connections. If check is set
// it compares each byte.
func (fs *flows) receive(l *load, n int, check bool) (sample, error) {
	if err := fs.watch(); err != nil {
		return sample{}, err
	}
	frame := serverFrame(bytes.Repeat([]byte{'x'}, l.size))
	run := bytes.Repeat(frame, 2+(256<<10)/len(frame)) // the bytes of a read begin anywhere in the first frame
	for _, f := range fs.all {
		f.got = 0
	}
	m, err := l.begin()
	if err != nil {
		return sample{}, err
	}
	answer := make(chan error, 1)
	start := time.Now()
	go func() { // ends with the server's answer, which is waited for, or with the server
		answer <- l.server.do(fmt.Sprintf("publish %d %d %d", n, l.size, l.interval.Microseconds()))
	}()
	all := n * len(fs.all)
	t := &tally{took: make([]time.Duration, 0, all)}
	err = fs.each(func(f *flow, b []byte) (bool, error) {
		if from := f.got % len(frame); check && !bytes.Equal(b, run[from:from+len(b)]) {
			return false, fmt.Errorf("connection %d: not what was published, after %d bytes", f.index, f.got)
		}
		before := f.got / len(frame)
		f.got += len(b)
		if f.got > n*len(frame) {
			return false, fmt.Errorf("connection %d: more than was published", f.index)
		}
		now := time.Since(start)
		for i := before; i < f.got/len(frame); i++ {
			t.add(now-time.Duration(i)*l.interval, 1)
		}
		return t.n == all, nil
	})
	if err != nil {
		return sample{}, fmt.Errorf("%d of %d messages came: %w", t.n, all, err)
	}
	if err := <-answer; err != nil {
		return sample{}, err
	}
	if err := m.stop(); err != nil {
		return sample{}, err
	}
	return m.sample(t)
}
