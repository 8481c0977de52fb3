package main

import (
	"net/http"

	"github.com/olahol/melody"
)

// melodyPeer is melody as in its README, with room for the messages of a case: it drops messages that find none.
func melodyPeer(s settings) peer {
	m := melody.New()
	m.Config.MaxMessageSize = readLimit
	m.Config.MessageBufferSize = max(m.Config.MessageBufferSize, s.queue)
	m.Upgrader.EnableCompression = s.compress
	m.HandleMessage(func(session *melody.Session, message []byte) { session.Write(message) })
	return peer{
		serve:   serveHTTP(func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) }),
		publish: func(message []byte) { m.Broadcast(message) },
	}
}
