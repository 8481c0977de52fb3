//go:build !linux

package poll

import (
	"net"
	"time"
)

// unsent is Linux's: elsewhere a peer's progress is seen when more can be written.
func unsent(net.Conn) int { return -1 }

// forgetUnsent is Linux's: elsewhere the system decides.
func forgetUnsent(net.Conn, time.Duration) {}
