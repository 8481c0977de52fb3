package main

import (
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// epollPeer is the floor without goroutines for connections: a thread for each core waits for all of its sockets.
func epollPeer(settings) peer {
	return peer{serve: func(ln net.Listener) error {
		loops := make([]int, runtime.GOMAXPROCS(0))
		for i := range loops {
			ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			if err != nil {
				return err
			}
			loops[i] = ep
			go epollLoop(ep) // ends with the process
		}
		for i := 0; ; i++ {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			fd, err := detach(conn)
			if err != nil {
				return err
			}
			event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
			if err := unix.EpollCtl(loops[i%len(loops)], unix.EPOLL_CTL_ADD, fd, &event); err != nil {
				return fmt.Errorf("watch a socket: %w", err)
			}
		}
	}}
}

// detach removes a socket from the runtime's poller.
func detach(conn net.Conn) (int, error) {
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// epollLoop answers the sockets of one epoll set.
func epollLoop(ep int) {
	runtime.LockOSThread()
	echoes := map[int]*floorEcho{}
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if err != nil && err != unix.EINTR {
			panic(err)
		}
		for _, event := range events[:max(n, 0)] {
			fd := int(event.Fd)
			e := echoes[fd]
			if e == nil {
				e = &floorEcho{}
				echoes[fd] = e
			}
			if !epollEcho(fd, e) {
				delete(echoes, fd)
				unix.Close(fd)
			}
		}
	}
}

// epollEcho reads once and writes the answer. It reports whether the connection goes on.
func epollEcho(fd int, e *floorEcho) bool {
	n, err := unix.Read(fd, e.room())
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	for reply := e.took(n); len(reply) > 0; {
		n, err := unix.Write(fd, reply)
		switch err {
		case nil:
			reply = reply[n:]
		case unix.EINTR:
		case unix.EAGAIN: // The load reads all the time: this ends soon.
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return false
		}
	}
	return true
}
