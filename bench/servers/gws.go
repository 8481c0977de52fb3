package main

import (
	"net/http"

	"github.com/lxzan/gws"
)

// gwsPeer is gws as in its README, without the deadline: that is the user's choice, and cheaper without.
// Messages are handled one after another, as in its echo example: ParallelEnabled would mix up the replies.
func gwsPeer(s settings) peer {
	h := &gwsHandler{}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{
		Recovery:          gws.Recovery,
		PermessageDeflate: gws.PermessageDeflate{Enabled: s.compress},
	})
	upgrade := func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go socket.ReadLoop() // ends with the connection; the request's memory is free meanwhile
	}
	return peer{serve: serveHTTP(upgrade), publish: func(message []byte) {
		b := gws.NewBroadcaster(gws.OpcodeText, message)
		defer b.Close()
		h.conns.each(func(c *gws.Conn) { b.Broadcast(c) })
	}}
}

type gwsHandler struct {
	gws.BuiltinEventHandler
	conns registry[*gws.Conn]
}

func (h *gwsHandler) OnOpen(c *gws.Conn) { h.conns.add(c) }

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) { h.conns.remove(c) }

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}
