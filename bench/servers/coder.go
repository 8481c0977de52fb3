package main

import (
	"bytes"
	"context"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// coderPeer is coder/websocket as in its echo and chat examples. It reads a whole message into a buffer from a pool, and
// writes it with one call: a copy from Reader to Writer would split a long message into many fragments.
func coderPeer(s settings) peer {
	options := &websocket.AcceptOptions{}
	if s.compress {
		options.CompressionMode = websocket.CompressionNoContextTakeover
	}
	var clients registry[*coderClient]
	accept := func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil {
			return
		}
		conn.SetReadLimit(readLimit)
		c := &coderClient{conn: conn}
		if s.queue > 0 {
			c.send = make(chan []byte, s.queue)
			clients.add(c)
			go c.write() // ends with the connection
		}
		go func() { // ends with the connection; the request's memory is free meanwhile
			c.echo()
			conn.CloseNow()
			clients.remove(c)
			if c.send != nil {
				close(c.send)
			}
		}()
	}
	return peer{serve: serveHTTP(accept), publish: func(message []byte) {
		clients.each(func(c *coderClient) { c.send <- message })
	}}
}

type coderClient struct {
	conn *websocket.Conn
	send chan []byte
}

var coderBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (c *coderClient) echo() {
	ctx := context.Background()
	for {
		kind, r, err := c.conn.Reader(ctx)
		if err != nil {
			return
		}
		b := coderBuffers.Get().(*bytes.Buffer)
		b.Reset()
		if _, err = b.ReadFrom(r); err == nil {
			err = c.conn.Write(ctx, kind, b.Bytes())
		}
		coderBuffers.Put(b)
		if err != nil {
			return
		}
	}
}

// write writes published messages, so a slow connection does not delay others.
func (c *coderClient) write() {
	for message := range c.send {
		c.conn.Write(context.Background(), websocket.MessageText, message) // after it fails the rest fail too, and echo ends
	}
}
