package main

// The peers that hail is compared with.

// peer is a server that can be measured.
type peer struct {
	name     string
	setUp    string   // its settings, beyond the minimum
	goServer bool     // a peer of bench/servers
	command  []string // of another server, run in bench/js
	echoes   bool     // does nothing but echo, over TCP
}

var allPeers = []peer{
	{name: "hail", goServer: true, setUp: "defaults, except for a longer ReadLimit and SendQueue: heartbeats, timeouts and UTF-8 checks are on"},
	{name: "hail-reuse", goServer: true, setUp: "as hail, with ReuseBuffers"},
	{name: "gws", goServer: true, setUp: "Recovery on, ParallelEnabled off, its Broadcaster; UTF-8 checks off, as it ships; no deadlines"},
	{name: "gorilla", goServer: true, setUp: "WriteBufferPool; a PreparedMessage to a goroutine and channel a connection, as in its chat example; it has no UTF-8 checks"},
	{name: "melody", goServer: true, setUp: "its heartbeats are on; its Broadcast, with buffers that drop nothing; it has no UTF-8 checks"},
	{name: "coder", goServer: true, setUp: "its Reader into a pooled buffer, and Write; publishes to a goroutine and channel a connection, as in its chat example; it has no UTF-8 checks"},
	{name: "gobwas", goServer: true, setUp: "zero-copy upgrade, wsutil with its UTF-8 checks, a goroutine a connection, a frame compiled once to publish"},
	{name: "ws", command: []string{"node", "--expose-gc", "ws.js"}, setUp: "with bufferutil; UTF-8 checks on; for compression the options of its README"},
	{name: "bun", command: []string{"node_modules/bun/bin/bun.exe", "bun.js"}, setUp: "Bun.serve with subscribe and publish; UTF-8 checks on"},
	{name: "floor", goServer: true, echoes: true, setUp: "a bare loop of reads and writes, a goroutine a connection, that unmasks and checks nothing"},
	{name: "floor-epoll", goServer: true, echoes: true, setUp: "as floor, but with an epoll set a core in place of goroutines"},
}

func peerNames() []string {
	var names []string
	for _, p := range allPeers {
		names = append(names, p.name)
	}
	return names
}

// can reports whether the peer can run a case.
func (p peer) can(c bcase) bool {
	return !p.echoes || c.inFlight > 0 && c.unit != "" && !c.tls && !c.compress
}
