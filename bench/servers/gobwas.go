package main

import (
	"io"
	"net"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/gobwas/ws/wsutil"
)

// gobwasPeer is gobwas/ws as in its README: the zero-copy upgrade of a bare connection, then a goroutine that
// reads and writes with wsutil, or with the frames of wsflate. A message to publish is compiled once.
func gobwasPeer(s settings) peer {
	wsutil.SetMaxMessageSize(readLimit)
	var conns registry[net.Conn]
	handle := func(conn net.Conn) {
		defer conn.Close()
		var u ws.Upgrader
		deflate := wsflate.Extension{Parameters: wsflate.DefaultParameters}
		if s.compress {
			u.Negotiate = deflate.Negotiate
		}
		if _, err := u.Upgrade(conn); err != nil {
			return
		}
		conns.add(conn)
		defer conns.remove(conn)
		echo := echoMessage
		if _, ok := deflate.Accepted(); ok {
			echo = echoDeflated
		}
		for echo(conn) == nil {
		}
	}
	return peer{serve: func(ln net.Listener) error { return serveConns(ln, handle) }, publish: func(message []byte) {
		frame := ws.MustCompileFrame(ws.NewTextFrame(message))
		conns.each(func(conn net.Conn) { conn.Write(frame) })
	}}
}

// serveConns handles each connection on a goroutine, which ends with the connection.
func serveConns(ln net.Listener, handle func(net.Conn)) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go handle(conn)
	}
}

func echoMessage(conn net.Conn) error {
	message, op, err := wsutil.ReadClientData(conn)
	if err != nil {
		return err
	}
	return wsutil.WriteServerMessage(conn, op, message)
}

func echoDeflated(conn net.Conn) error {
	header, err := ws.ReadHeader(conn)
	if err != nil {
		return err
	}
	if header.Length > readLimit {
		return io.ErrShortBuffer
	}
	frame := ws.Frame{Header: header, Payload: make([]byte, header.Length)}
	if _, err := io.ReadFull(conn, frame.Payload); err != nil {
		return err
	}
	frame = ws.UnmaskFrameInPlace(frame)
	if compressed, err := wsflate.IsCompressed(frame.Header); err != nil {
		return err
	} else if compressed {
		if frame, err = wsflate.DecompressFrame(frame); err != nil {
			return err
		}
	}
	reply, err := wsflate.CompressFrame(ws.NewFrame(frame.Header.OpCode, true, frame.Payload))
	if err != nil {
		return err
	}
	return ws.WriteFrame(conn, reply)
}
