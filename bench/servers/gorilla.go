package main

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// gorillaPeer is gorilla/websocket as in its echo and chat examples, with write buffers from a pool.
func gorillaPeer(s settings) peer {
	upgrader := websocket.Upgrader{WriteBufferPool: &sync.Pool{}, EnableCompression: s.compress}
	var clients registry[*gorillaClient]
	upgrade := func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		conn.SetReadLimit(readLimit)
		c := &gorillaClient{conn: conn}
		if s.queue > 0 {
			c.send = make(chan *websocket.PreparedMessage, s.queue)
			clients.add(c)
			go c.writePump() // ends with the connection
		}
		go func() { // ends with the connection; the request's memory is free meanwhile
			c.echo()
			conn.Close()
			clients.remove(c)
			if c.send != nil {
				close(c.send)
			}
		}()
	}
	return peer{serve: serveHTTP(upgrade), publish: func(message []byte) {
		m, err := websocket.NewPreparedMessage(websocket.TextMessage, message)
		if err != nil {
			panic(err) // its errors do not concern a connection
		}
		clients.each(func(c *gorillaClient) { c.send <- m })
	}}
}

type gorillaClient struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage
}

func (c *gorillaClient) echo() {
	for {
		kind, message, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if err := c.conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// writePump writes published messages, so a slow connection does not delay others.
func (c *gorillaClient) writePump() {
	for m := range c.send {
		c.conn.WritePreparedMessage(m) // after it fails the rest fail too, and echo ends
	}
}
