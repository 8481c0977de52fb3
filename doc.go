// Package hail serves WebSocket connections that handle messages (RFC 6455).
//
// A [Server] is an http.Handler: it is mounted in the mux that a service already has.
// Up to four callbacks say what happens; each may be left out.
//
//	http.Handle("/ws", &hail.Server{
//		Handler: hail.Handler{OnMessage: hail.Echo},
//	})
//
// The zero value works too: it greets each connection with [DefaultGreeting] and answers each
// message with [DefaultReply]. A server that has OnConnect or OnMessage does neither.
//
// # Order
//
// For one connection the callbacks run one at a time: OnConnect, then OnMessage for each message in
// the order of arrival, then OnClose, exactly once for each connection whose OnConnect was called.
// Different connections run in parallel. A callback's error or panic ends its own connection only.
//
// # Topics
//
// A topic is a name that connections subscribe to, such as a room's: [Conn.Subscribe] and [Server.Publish]. A message is
// encoded and kept once for all. [Server.Broadcast] reaches every connection, [Conn.SubscribeSince] resumes.
//
// # Bounds
//
// Every connection is bounded in memory and time by [Options], whose defaults are on. A message
// that will not be delivered is an error, a count in [Stats] and a [CloseInfo], never silence.
//
// # Ends
//
// Each connection ends with a [CloseInfo] that says who ended it and why. [Server.Shutdown] lets
// running callbacks finish, writes what is queued, and closes every connection with 1001.
//
// Package hail/hailtest is the kit to test handlers with.
package hail
