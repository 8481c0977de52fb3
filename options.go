package hail

// Limits and policies, their defaults, and their validation.

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"example.com/hail/internal/admit"
)

// Options are a Server's limits and policies. The zero value of each field stands for its default. A negative number
// or duration turns the limit off. The fields are read once, on first use of the Server.
type Options struct {
	// Origins are the origins from which browsers may connect, besides the request's own host (RFC 6455 section 10.2).
	// A pattern is a host, such as "example.com" or "*.example.com:8443", or an origin with its scheme, such as
	// "https://app.example.com" or "weapp://*". An asterisk stands for any run of characters, dots included, and as the port
	// for any port. The scheme's own port may be left out.
	// "null" allows the origin null (sandboxed frames, files), "*" every origin.
	// Other origins get 403. A request without Origin does not come from a browser's page and is accepted.
	// A malformed pattern panics. Default: the request's own host only.
	Origins []string

	// Subprotocols are the subprotocols that the server speaks (RFC 6455 section 1.9). The first that the client offers
	// and the server speaks is chosen. Default: none.
	Subprotocols []string

	// Compression negotiates permessage-deflate without context takeover (RFC 7692) with clients that offer it.
	// Messages of 1 KiB and more are then sent compressed if that makes them shorter. It costs CPU, and some 60 KB while
	// a message is inflated. Default: off.
	Compression bool

	// ReuseBuffers makes Message.Data valid only until OnMessage returns, and saves its allocation.
	// hailtest.Overwrite shows misuse in tests. Default: off.
	ReuseBuffers bool

	// ReadLimit is the most bytes of a message after decompression. Compressed, it may arrive in four times as many.
	// A longer message closes the connection with 1009, before more memory is used. Negative: no limit.
	// Default: 65536 (64 KiB).
	ReadLimit int64

	// SendQueue is the most bytes of messages that wait for one peer, with their frame headers. A message that alone is
	// larger is refused. Buffers are at least 4 KiB. They may hold four times the bytes queued, and as much again of
	// the bytes being written. Bytes that the system has accepted do not count: over TCP on Linux some 256 KiB, and those
	// on their way to the peer. Negative: no limit. Default: 1048576 (1 MiB).
	SendQueue int

	// TopicBytes is how many bytes of a topic's messages are kept for subscribers that are behind, with their frame
	// headers. A connection further behind is closed with 1013 and CauseSlowConsumer. If a message is kept
	// compressed too, both count. A message that alone is larger cannot be published.
	// Negative: no limit. Default: 1048576 (1 MiB).
	TopicBytes int

	// TopicMessages is how many of a topic's messages are kept for subscribers that are behind, likewise.
	// Negative: no limit. Default: 4096.
	TopicMessages int

	// MaxTopics is the most topics that a connection may be on. Topics that it has left do not count, but while 64 of them
	// still have messages for it, it cannot join another. Negative: no limit for either. Default: 128.
	MaxTopics int

	// History is what each topic keeps for Conn.SubscribeSince. Default: nothing.
	History History

	// MaxConns is the most connections at a time. Others get 503 with Retry-After, before the upgrade.
	// Negative: no limit. Default: no limit.
	MaxConns int

	// MaxConnsPerIP is the most connections at a time from one address, or one /64 of IPv6. Others get 429 with
	// Retry-After, before the upgrade. The address is http.Request.RemoteAddr's, with a port or without. Behind a proxy,
	// have middleware set RemoteAddr, or all clients count as one. Negative: no limit. Default: no limit.
	MaxConnsPerIP int

	// MessageRate is the most messages a second that a connection may send for long. More close it with 1008.
	// Negative: no limit. Default: no limit.
	MessageRate float64

	// MessageBurst is how many messages may come at once under MessageRate.
	// Negative: 1. Default: MessageRate rounded up, a second's worth.
	MessageBurst int

	// MessageTimeout is the time from a message's first byte to its last. A slower message closes the connection with
	// 1008. Negative: none. Default: 30 s.
	MessageTimeout time.Duration

	// WriteTimeout is how long a peer may accept nothing of the bytes queued for it, before it is cut. It is also the
	// longest that Send waits for room in the queue. A peer that accepts a little now and then keeps its connection, also
	// while that is closed. On Linux the system gives up the bytes that it holds for a peer that was cut by WriteTimeout
	// or PongTimeout about as soon. Negative: no timeout. Default: 10 s.
	//
	// On Linux the system tells how much the peer has acknowledged, over TCP and TLS. A peer that reads very little of a
	// large buffer may acknowledge nothing for seconds. Elsewhere, and over a net.Conn of another type around one, progress is
	// known only when more can be written: allow slow peers more time.
	WriteTimeout time.Duration

	// PingInterval is how long a peer may be silent before it is sent a ping (RFC 6455 section 5.5.2), less up to a
	// fifth, at random, so that not all are pinged at once. Any byte ends a silence.
	// Negative: no pings. Default: 25 s.
	PingInterval time.Duration

	// PongTimeout is how long a peer may stay silent after it could have read a ping, before it is cut.
	// Negative: no timeout. Default: 10 s.
	PongTimeout time.Duration

	// CloseTimeout is how long the peer's close frame is waited for after the peer could have read ours, before the
	// connection is cut (RFC 6455 section 7.1.1). While bytes before ours are on their way to the peer, WriteTimeout
	// counts if it is longer. A connection that can only be read is kept for as long. Negative: no timeout.
	// Default: 5 s.
	CloseTimeout time.Duration

	// Logger gets connections and messages (not their content) at Debug, refused requests at Warn, and at Error what
	// OnError would get. Queries are never logged. A panic of its handler costs the line, and Stats.Panics counts it.
	// Default: slog.Default().
	Logger *slog.Logger
}

// History says how many messages a topic keeps that all subscribers have read, or that have none: the latest, at most
// Messages, and none older than Age. Options.TopicBytes and TopicMessages bound it too.
type History struct {
	Messages int           // 0 or less: no history
	Age      time.Duration // 0: 5 minutes if Messages is set; negative: no history
}

const (
	defaultReadLimit      = 64 << 10
	defaultSendQueue      = 1 << 20
	defaultTopicBytes     = 1 << 20
	defaultTopicMessages  = 4096
	defaultMaxTopics      = 128
	defaultHistoryAge     = 5 * time.Minute
	defaultMessageTimeout = 30 * time.Second
	defaultWriteTimeout   = 10 * time.Second
	defaultPingInterval   = 25 * time.Second
	defaultPongTimeout    = 10 * time.Second
	defaultCloseTimeout   = 5 * time.Second
)

// withDefaults returns o with each zero field at its default.
func (o Options) withDefaults() Options {
	or(&o.ReadLimit, defaultReadLimit)
	or(&o.SendQueue, defaultSendQueue)
	or(&o.TopicBytes, defaultTopicBytes)
	or(&o.TopicMessages, defaultTopicMessages)
	or(&o.MaxTopics, defaultMaxTopics)
	if o.History.Messages > 0 {
		or(&o.History.Age, defaultHistoryAge)
	}
	or(&o.MaxConns, -1)
	or(&o.MaxConnsPerIP, -1)
	or(&o.MessageRate, -1)
	or(&o.MessageBurst, int(math.Ceil(min(o.MessageRate, math.MaxInt32))))
	o.MessageBurst = max(o.MessageBurst, 1)
	or(&o.MessageTimeout, defaultMessageTimeout)
	or(&o.WriteTimeout, defaultWriteTimeout)
	or(&o.PingInterval, defaultPingInterval)
	or(&o.PongTimeout, defaultPongTimeout)
	or(&o.CloseTimeout, defaultCloseTimeout)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// or sets *p to value if it is zero.
func or[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// validate returns the rules for requests, or the error of an option that is malformed.
func (o Options) validate() (*admit.Rules, error) {
	rules, err := admit.NewRules(o.Origins, o.Subprotocols)
	if err != nil {
		return nil, fmt.Errorf("hail: %w", err)
	}
	if math.IsNaN(o.MessageRate) {
		return nil, fmt.Errorf("hail: Options.MessageRate is not a number")
	}
	return rules, nil
}
