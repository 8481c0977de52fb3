package main

import (
	"fmt"
	"net/http"

	"example.com/hail"
)

// enter puts a connection into the room that its query names.
func enter(c *hail.Conn, r *http.Request) error { return c.Subscribe(r.URL.Query().Get("room")) }

// hear tells the others in the room what somebody says, or that they joined: the first message is the nickname.
func hear(c *hail.Conn, m hail.Message) error {
	room, name := c.Topics()[0], c.State()
	if name == nil {
		c.SetState(m.String())
		return c.Publish(room, hail.Text("joined "+m.String()))
	}
	return c.Publish(room, hail.Text(fmt.Sprintf("says %v\n%v", name, m)))
}

// leave tells the others in the room that somebody left, unless they never heard of them.
func leave(c *hail.Conn, _ hail.CloseInfo) {
	if name := c.State(); name != nil {
		c.Publish(c.Topics()[0], hail.Text(fmt.Sprint("left ", name)))
	}
}
