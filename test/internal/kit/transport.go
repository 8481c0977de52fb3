package kit

// The transports over which a server has to behave the same.

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/hailtest"
)

// Transports are the transports over which a server has to behave the same.
var Transports = map[string][]hailtest.Option{
	"memory":     nil,
	"tcp":        {hailtest.TCP()},
	"tls":        {hailtest.TCP(), hailtest.TLS(nil)},
	"compressed": {hailtest.TCP(), hailtest.Compression()},
	// A goroutine serves each connection of an unknown type.
	"wrapped tcp": {hailtest.TCP(), hailtest.Wrap(func(nc net.Conn) net.Conn { return struct{ net.Conn }{nc} })},
}

// OverTransports runs a test over each transport.
func OverTransports(t *testing.T, test func(t *testing.T, opts ...hailtest.Option)) {
	t.Helper()
	for name, opts := range Transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, opts...)
		})
	}
}

// OverBubbles runs a test in a synctest bubble over each transport that can be in one.
func OverBubbles(t *testing.T, test func(t *testing.T, opts ...hailtest.Option)) {
	t.Helper()
	for name, opts := range map[string][]hailtest.Option{
		"memory":            nil,
		"memory tls":        {hailtest.TLS(nil)},
		"memory compressed": {hailtest.Compression()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, append(opts, hailtest.Timeout(time.Hour))...) })
		})
	}
}

// Narrow gives a transport buffers so small that queued messages stay in the queue.
func Narrow(opts []hailtest.Option) []hailtest.Option {
	return append(slices.Clone(opts), hailtest.BufferSize(1))
}
