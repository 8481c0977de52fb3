//go:build !linux

package poll

import (
	"net"
	"time"
)

// unsent returns -1. Only Linux tells; on other systems a peer shows progress when more can be written.
func unsent(net.Conn) int { return -1 }

// forgetUnsent does nothing. Only Linux can; on other systems the system decides.
func forgetUnsent(net.Conn, time.Duration) {}
