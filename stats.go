package hail

// Counters, and the connections that there are. Both are split, so that cores do not meet in them.

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/hail/internal/link"
)

// Stats are a Server's counters since its start, but for Open. They are read one after
// the other, so they need not fit together to the last message. Undelivered includes what a slow consumer has published
// itself where its topic has dropped that.
type Stats struct {
	Open        int              // connections that are open now, as Server.Len has them
	Accepted    uint64           // handshakes that became connections
	Refused     uint64           // requests that became none
	Received    uint64           // messages given to OnMessage
	Sent        uint64           // messages queued by Send, TrySend and SendJSON
	Published   uint64           // messages given to Publish, PublishSeq and Broadcast
	Undelivered uint64           // messages, sent or published to a connection, that the system had not taken when it ended
	BytesIn     uint64           // bytes read from connections, handshakes excepted
	BytesOut    uint64           // bytes written to connections, handshakes excepted
	Panics      uint64           // callbacks that panicked
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
}

func (s *serverStats) read(conns *registry) Stats {
	st := Stats{
		Open:        int(s.open.Load()),
		Accepted:    s.accepted.Load(),
		Refused:     s.refused.Load(),
		Published:   s.published.Load(),
		Undelivered: s.lost.Load(),
		Panics:      s.panics.Load(),
		Closed:      make(map[Cause]uint64),
	}
	for i := range conns.shards {
		shard := &conns.shards[i]
		st.Received += shard.received.Load()
		st.Sent += shard.sent.Load()
		st.BytesIn += shard.traffic.In.Load()
		st.BytesOut += shard.traffic.Out.Load()
	}
	for cause := range s.closed {
		if n := s.closed[cause].Load(); n > 0 {
			st.Closed[Cause(cause)] = n
		}
	}
	return st
}

const shardCount = 16

// registry holds a server's connections, from before OnConnect until after OnClose.
type registry struct {
	ids    atomic.Uint64
	shards [shardCount]shard
}

// shard holds a part of the connections, and counts their messages and bytes.
type shard struct {
	mu    sync.Mutex
	conns []*Conn // each knows its index

	received atomic.Uint64
	sent     atomic.Uint64
	traffic  link.Traffic
	_        [64]byte // the next shard's counters are another core's
}

// number gives c its number, and with it its shard.
func (r *registry) number(c *Conn) {
	c.id = r.ids.Add(1)
	c.shard = &r.shards[c.id%shardCount]
}

func (r *registry) add(c *Conn) {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	c.index = int32(len(c.shard.conns))
	c.shard.conns = append(c.shard.conns, c)
}

func (r *registry) remove(c *Conn) {
	sh := c.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	last := len(sh.conns) - 1
	sh.conns[c.index] = sh.conns[last]
	sh.conns[c.index].index = c.index
	sh.conns[last] = nil
	sh.conns = sh.conns[:last]
	if cap(sh.conns) > 64 && last < cap(sh.conns)/4 {
		sh.conns = slices.Clip(slices.Clone(sh.conns))
	}
}

// all yields each connection, with no lock held.
func (r *registry) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		var part []*Conn
		for i := range r.shards {
			sh := &r.shards[i]
			sh.mu.Lock()
			part = append(part[:0], sh.conns...)
			sh.mu.Unlock()
			for _, c := range part {
				if !yield(c) {
					return
				}
			}
		}
	}
}
