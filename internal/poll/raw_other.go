//go:build !unix

package poll

import "net"

// newRaw finds no raw sockets here: every connection is a stream.
func newRaw(net.Conn, Handler) Socket { return nil }
