package soak_test

// The transports of connections.

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"time"

	"example.com/hail/test/internal/kit"
)

// A transport is the server's listener, and a function by which clients reach it.
type transport struct {
	net.Listener
	dial func() (net.Conn, error)
}

// A round draws one of kinds. Only over epoll does the server serve the sockets itself; each of the others costs a goroutine.
var kinds = []string{"epoll", "epoll", "epoll", "epoll", "goroutine", "tls", "memory"}

// open opens the round's transport. If small, the system's buffers are small.
func (rd *round) open(small bool) transport {
	if rd.kind == "memory" {
		return newMemory(rd)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	dial := func() (net.Conn, error) {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err == nil && small {
			nc.(*net.TCPConn).SetReadBuffer(128 << 10) // with less, the system's timers would set the pace
		}
		return nc, err
	}
	tr := transport{&listener{ln, rd, small}, dial}
	if rd.kind == "tls" {
		tr.Listener = tls.NewListener(tr.Listener, &tls.Config{Certificates: []tls.Certificate{kit.Certificate()}})
		tr.dial = func() (net.Conn, error) {
			nc, err := dial()
			if err != nil {
				return nil, err
			}
			return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}), nil
		}
	}
	return tr
}

// listener gives the server connections of the round's kind.
type listener struct {
	net.Listener
	rd    *round
	small bool
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.small {
		nc.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	if l.rd.kind == "epoll" {
		return nc, nil
	}
	return &faultyConn{nc.(*net.TCPConn), l.rd}, nil
}

// faultyConn is a connection that the server does not know as a socket. It fails as sockets do.
type faultyConn struct {
	*net.TCPConn
	rd *round
}

func (c *faultyConn) Read(p []byte) (int, error)  { return c.rd.readFrom(c.TCPConn, p) }
func (c *faultyConn) Write(p []byte) (int, error) { return c.rd.writeTo(c.TCPConn, p) }

// faultyPipe is the same in memory.
type faultyPipe struct {
	net.Conn
	rd *round
}

func (c *faultyPipe) Read(p []byte) (int, error)  { return c.rd.readFrom(c.Conn, p) }
func (c *faultyPipe) Write(p []byte) (int, error) { return c.rd.writeTo(c.Conn, p) }

// readFrom reads late or less than it could, or closes nc.
func (rd *round) readFrom(nc net.Conn, p []byte) (int, error) {
	switch rd.draw(2000) {
	case 0:
		rd.faults.Add(1)
		nc.Close()
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
		rd.faults.Add(1)
		time.Sleep(time.Millisecond)
		p = p[:min(len(p), 1)]
	default:
		if len(p) > 1 {
			p = p[:len(p)-rd.draw(len(p))]
		}
	}
	return nc.Read(p)
}

// writeTo writes late or in two pieces, or writes a part and closes nc.
func (rd *round) writeTo(nc net.Conn, p []byte) (n int, err error) {
	switch draw := rd.draw(2000); {
	case draw == 0:
		rd.faults.Add(1)
		n, _ = nc.Write(p[:len(p)/2])
		nc.Close()
		return n, net.ErrClosed
	case draw <= 20:
		rd.faults.Add(1)
		time.Sleep(time.Millisecond)
	case draw <= 200:
		rd.faults.Add(1)
		if n, err = nc.Write(p[:rd.draw(len(p)+1)]); err != nil {
			return n, err
		}
		runtime.Gosched()
	}
	rest, err := nc.Write(p[n:])
	return n + rest, err
}

// memory is a listener whose connections buffer nothing: a writer waits for the reader.
type memory struct {
	rd     *round
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory(rd *round) transport {
	m := &memory{rd: rd, conns: make(chan net.Conn), closed: make(chan struct{})}
	return transport{m, m.dial}
}

func (m *memory) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case nc := <-m.conns:
		return &faultyPipe{nc, m.rd}, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
