package main

import (
	"fmt"
	"net/http"

	"example.com/hail"
)

// enter puts a connection into the room that its query names.
func enter(c *hail.Conn, r *http.Request) error { return c.Subscribe(r.URL.Query().Get("room")) }

// hear publishes a message to the others in the room. The first message is the nickname, and says that somebody joined.
func hear(c *hail.Conn, m hail.Message) error {
	room, name := c.Topics()[0], c.State()
	if name == nil {
		c.SetState(m.String())
		return c.Publish(room, hail.Text("joined "+m.String()))
	}
	return c.Publish(room, hail.Text(fmt.Sprintf("says %v\n%v", name, m)))
}

// leave tells the others in the room that somebody left, if they were told the nickname.
func leave(c *hail.Conn, _ hail.CloseInfo) {
	if name := c.State(); name != nil {
		c.Publish(c.Topics()[0], hail.Text(fmt.Sprint("left ", name)))
	}
}
