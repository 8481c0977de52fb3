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

// Option changes how [Dial], [DialURL], [Handshake] and [Exchange] connect. If two options set the same
// thing the last one counts.
type Option func(*options)

type options struct {
	header     http.Header
	early      []byte
	bufferSize int
	timeout    time.Duration
	raw        bool
	tcp        bool
	wrap       func(net.Conn) net.Conn // nil: the server's connections are not wrapped
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

// Header sets a header field of the handshake, also one that every handshake has (Host, Upgrade,
// Sec-WebSocket-Key, ...). An empty value removes the field.
func Header(key, value string) Option {
	return func(o *options) { o.header.Set(key, value) }
}

// Origin sets the Origin field, which browsers always send. Default: none.
func Origin(origin string) Option { return Header("Origin", origin) }

// Subprotocols offers subprotocols, the preferred one first. Default: none.
func Subprotocols(names ...string) Option {
	return Header("Sec-WebSocket-Protocol", strings.Join(names, ", "))
}

// Compression offers permessage-deflate (RFC 7692) as browsers do. If the server accepts it, the peer
// compresses every message it sends. Default: not offered.
func Compression() Option {
	return Header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
}

// EarlyData sends b in the same write as the handshake, before the response.
func EarlyData(b []byte) Option {
	return func(o *options) { o.early = b }
}

// Raw makes a peer that reads nothing by itself: it answers no ping and no close, and the test reads
// with [Peer.ReadFrame].
func Raw() Option {
	return func(o *options) { o.raw = true }
}

// Timeout bounds each wait of the peer: for a message, for a frame, for the close, and for the server to
// read written bytes. Default: 10 seconds. In a [testing/synctest] bubble these are the bubble's seconds.
func Timeout(d time.Duration) Option {
	return func(o *options) { o.timeout = d }
}

// BufferSize bounds the bytes in flight in each direction: exactly in memory, rounded by the system over
// TCP. Default: 64 KiB in memory, the system's choice over TCP.
func BufferSize(bytes int) Option {
	return func(o *options) { o.bufferSize = bytes }
}

// RemoteAddr sets the address that the server sees, for example "127.0.0.2:0". Over TCP it has to be an
// address of this machine. Default: a port of 127.0.0.1. It panics if addr is not an IP address and a
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

// Wrap makes the server's listener return wrap(conn) for each connection, for example to count bytes or limit
// their rate. hail serves a connection of a type it does not know with a goroutine, over TCP too.
func Wrap(wrap func(net.Conn) net.Conn) Option {
	return func(o *options) { o.wrap = wrap }
}

// TLS uses TLS, in memory too. [DialURL] uses TLS if the URL's scheme is wss, and needs this option only for
// the config.
//
// A nil config, or one without RootCAs, trusts the server that [Dial] starts. In DialURL it trusts the
// system's roots.
func TLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{}
	}
	return func(o *options) { o.tls = config }
}
