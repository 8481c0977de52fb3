package hailtest

// The options of a dial.

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

const defaultTimeout = 10 * time.Second

// Option changes how [Dial], [DialURL], [Handshake] and [Exchange] connect. Of two that set the same
// thing the last one holds.
type Option func(*options)

type options struct {
	header     http.Header
	early      []byte
	bufferSize int
	timeout    time.Duration
	raw        bool
	tcp        bool
	wrap       func(net.Conn) net.Conn // nil: the server has its connections as they are
	tls        *tls.Config             // nil: no TLS, unless the URL says wss
	remoteAddr *net.TCPAddr
}

func newOptions(opts []Option) *options {
	o := &options{header: http.Header{}, timeout: defaultTimeout}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// Header sets a header field of the handshake, also one that it would have anyway (Host, Upgrade,
// Sec-WebSocket-Key, ...). An empty value leaves the field out.
func Header(key, value string) Option {
	return func(o *options) { o.header.Set(key, value) }
}

// Origin sets the Origin field, which browsers always send. Default: none.
func Origin(origin string) Option { return Header("Origin", origin) }

// Subprotocols offers subprotocols, the preferred one first. Default: none.
func Subprotocols(names ...string) Option {
	return Header("Sec-WebSocket-Protocol", strings.Join(names, ", "))
}

// Compression offers permessage-deflate (RFC 7692) as browsers do. Where the server accepts it, every
// message that the peer sends is compressed. Default: not offered.
func Compression() Option {
	return Header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
}

// EarlyData sends b in the same write as the handshake, as a client may whose first frame does not
// depend on the answer.
func EarlyData(b []byte) Option {
	return func(o *options) { o.early = b }
}

// Raw makes a peer that reads nothing by itself: it answers no ping and no close, and the test reads
// with [Peer.ReadFrame].
func Raw() Option {
	return func(o *options) { o.raw = true }
}

// Timeout bounds each wait of the peer: for a message, for a frame, for the close, for the server to
// take what is written. Default: 10 seconds. In a [testing/synctest] bubble they are the bubble's
// seconds.
func Timeout(d time.Duration) Option {
	return func(o *options) { o.timeout = d }
}

// BufferSize bounds the bytes in flight in each direction: in memory exactly, over TCP as the system
// rounds it. Default: 64 KiB in memory, the system's choice over TCP.
func BufferSize(bytes int) Option {
	return func(o *options) { o.bufferSize = bytes }
}

// RemoteAddr sets the address that the server sees, "127.0.0.2:0" for example; over TCP it has to be
// one of this machine's. Default: a port of 127.0.0.1. It panics if addr is not an IP address and a
// port.
func RemoteAddr(addr string) Option {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil || a.IP == nil {
		panic("hailtest: RemoteAddr: " + addr + " is not an IP address and a port")
	}
	return func(o *options) { o.remoteAddr = a }
}

// TCP serves the handler on a loopback port instead of in memory. It cannot be used in a
// [testing/synctest] bubble.
func TCP() Option {
	return func(o *options) { o.tcp = true }
}

// Wrap has the server's listener accept what wrap makes of each connection, as one that counts bytes or limits
// their rate does. hail serves what it does not know with a goroutine for each connection, TCP too.
func Wrap(wrap func(net.Conn) net.Conn) Option {
	return func(o *options) { o.wrap = wrap }
}

// TLS speaks TLS, in memory too. [DialURL] does so where the URL says wss, and needs TLS only for its config.
//
// A nil config, or one without RootCAs, trusts the server that [Dial] starts; in DialURL it trusts the system's
// roots.
func TLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{}
	}
	return func(o *options) { o.tls = config }
}
