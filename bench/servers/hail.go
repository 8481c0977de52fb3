package main

import (
	"net/http"

	"example.com/hail"
)

func hailPeer(s settings, reuse bool) peer {
	server := &hail.Server{
		Handler: hail.Handler{
			OnConnect: func(*hail.Conn, *http.Request) error { return nil },
			OnMessage: hail.Echo,
		},
		Options: hail.Options{
			ReadLimit:    readLimit,
			SendQueue:    4 * readLimit,
			Compression:  s.compress,
			ReuseBuffers: reuse,
		},
	}
	return peer{serve: serveHTTP(server.ServeHTTP), publish: func(message []byte) {
		server.Broadcast(hail.Message{Type: hail.MessageText, Data: message})
	}}
}
