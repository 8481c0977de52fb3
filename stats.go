package hail

// Counters.

import (
	"sync/atomic"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
)

// Stats are a Server's counters since its start, except Open. They are read one after the other, so they need not agree to
// the last message. Undelivered may include messages that a slow consumer published itself.
type Stats struct {
	Open        int              // connections that are open now, as Server.Len has them
	Accepted    uint64           // handshakes that became connections
	Refused     uint64           // requests that became none
	Received    uint64           // messages given to OnMessage
	Sent        uint64           // messages queued by Send, TrySend and SendJSON
	Published   uint64           // messages given to Publish, PublishSeq and Broadcast
	Undelivered uint64           // messages, sent or published to a connection, that were not written when it ended
	BytesIn     uint64           // bytes read from connections, except handshakes
	BytesOut    uint64           // bytes written to connections, except handshakes
	Panics      uint64           // callbacks, and calls of Options.Logger, that panicked
	Closed      map[Cause]uint64 // connections that ended, by cause
}

type serverStats struct {
	open      atomic.Int64
	accepted  atomic.Uint64
	refused   atomic.Uint64
	lost      atomic.Uint64
	published atomic.Uint64
	panics    atomic.Uint64
	closed    [len(causeNames)]atomic.Uint64
	parts     [life.Parts]counters
}

// counters count the messages and bytes of a part of the connections, so that cores do not wait for each other.
type counters struct {
	received atomic.Uint64
	sent     atomic.Uint64
	traffic  link.Traffic
	_        [64]byte // the next part's counters are another core's
}

func (s *serverStats) read() Stats {
	st := Stats{
		Open:        int(s.open.Load()),
		Accepted:    s.accepted.Load(),
		Refused:     s.refused.Load(),
		Published:   s.published.Load(),
		Undelivered: s.lost.Load(),
		Panics:      s.panics.Load(),
		Closed:      make(map[Cause]uint64),
	}
	for i := range s.parts {
		part := &s.parts[i]
		st.Received += part.received.Load()
		st.Sent += part.sent.Load()
		st.BytesIn += part.traffic.In.Load()
		st.BytesOut += part.traffic.Out.Load()
	}
	for cause := range s.closed {
		if n := s.closed[cause].Load(); n > 0 {
			st.Closed[Cause(cause)] = n
		}
	}
	return st
}
