//go:build !linux

package poll

import "net"

// Poller makes Sockets. Its zero value is ready.
type Poller struct{ streams group }

// New returns a Socket for nc. The Socket owns nc from then on.
func (p *Poller) New(nc net.Conn, h Handler) Socket { return newStream(nc, h, &p.streams) }

// Halt waits until every socket has ended and every Done has returned, and for all goroutines.
func (p *Poller) Halt() { p.streams.wait() }
