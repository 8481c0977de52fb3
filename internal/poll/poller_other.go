//go:build !linux

package poll

import "net"

// Poller makes Sockets. Its zero value is ready.
type Poller struct{ streams group }

// New returns the Socket for nc, which it owns from then on.
func (p *Poller) New(nc net.Conn, h Handler) Socket { return newStream(nc, h, &p.streams) }

// Halt waits until every socket has ended and every Done has returned, and for all goroutines.
func (p *Poller) Halt() { p.streams.wait() }
