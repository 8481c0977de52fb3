//go:build !linux

package poll

import "net"

// unsent is Linux's: elsewhere a peer's progress is seen when more can be written.
func unsent(net.Conn) int { return -1 }
