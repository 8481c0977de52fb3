package main

// Connections as plain sockets, so the load uses little of the machine that it shares with the server.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// flow is one connection.
type flow struct {
	fd     int
	index  int
	want   int    // bytes of replies, or replies, that have not arrived
	unsent []byte // of the request
	waits  bool   // for room in the socket
	sent   time.Time
	counter
	got int // bytes that have arrived, if the server publishes
}

// flows are the connections of one load.
type flows struct {
	all []*flow
	ep  int
}

const (
	// Ports of one address that can be used at a time.
	connsPerAddr = 4000
	patience     = 20 // seconds that a blocking call waits
)

// handshake returns the request that opens a connection.
func handshake(addr string, compress bool) []byte {
	extension := ""
	if compress {
		extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
	}
	return []byte("GET / HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + extension + "\r\n")
}

// connect opens n connections to a server, from several loopback addresses.
func connect(ctx context.Context, s *server, n int, compress bool) (*flows, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	fs := &flows{all: make([]*flow, n), ep: ep}
	request := handshake(s.addr, compress)
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, 8)
	for worker := range errs {
		group.Go(func() { // ends when all are open, or one cannot be; waited for below
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				fd, err := dial(s.addr, i/connsPerAddr, request)
				if err != nil {
					errs[worker] = fmt.Errorf("connection %d: %w", i, err)
					return
				}
				fs.all[i] = &flow{fd: fd, index: i}
			}
			errs[worker] = ctx.Err()
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		fs.close()
		return nil, err
	}
	return fs, nil
}

func (fs *flows) close() {
	for _, f := range fs.all {
		if f != nil {
			unix.Close(f.fd)
		}
	}
	unix.Close(fs.ep)
}

// dial opens one connection from the loopback address of that number. Its calls block.
func dial(addr string, from int, request []byte) (int, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := open(fd, to, from, request); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func open(fd int, to *net.TCPAddr, from int, request []byte) error {
	timeout := unix.Timeval{Sec: patience}
	err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		// A reset at the end, so no port stays in use.
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + from)}}),
	)
	if err != nil {
		return err
	}
	if err := connectTo(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := writeAll(fd, request); err != nil {
		return fmt.Errorf("write the handshake: %w", err)
	}
	return readAnswer(func(b []byte) (int, error) { return read(fd, b) })
}

// readAnswer reads the response to a handshake. Nothing may follow it.
func readAnswer(read func([]byte) (int, error)) error {
	answer := make([]byte, 0, 1024)
	for !bytes.HasSuffix(answer, []byte("\r\n\r\n")) {
		n, err := read(answer[len(answer):cap(answer)])
		if err != nil || n == 0 {
			return fmt.Errorf("read the handshake: %d bytes, %v", n, err)
		}
		answer = answer[:len(answer)+n]
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("handshake: %q", answer)
	}
	return nil
}

// These calls repeat after EINTR: the runtime's signals interrupt calls on sockets with a timeout.

func connectTo(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if err != unix.EINTR {
		return err
	}
	for { // the connecting goes on by itself
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience*1000)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		default:
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && code != 0 {
				err = unix.Errno(code)
			}
			return err
		}
	}
}

func read(fd int, b []byte) (int, error) {
	for {
		if n, err := unix.Read(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}
