//go:build !linux

package poll

import "net"

// Poller makes Sockets. Its zero value is ready.
type Poller struct{}

// New returns the Socket for nc, which it owns from then on.
func (*Poller) New(nc net.Conn, h Handler) Socket { return newStream(nc, h) }

// Halt waits for the goroutines of a Poller whose sockets have ended.
func (*Poller) Halt() {}
