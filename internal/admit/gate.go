package admit

// The limits on connections, before the upgrade.

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

// Gate counts connections, each from before the handshake until after OnClose.
// Its methods may be called from any goroutine.
type Gate struct {
	// Immutable. 0 or less: no limit.
	maxConns      int
	maxConnsPerIP int

	emptied chan struct{} // closed once the gate is closed and its count is 0

	mu      sync.Mutex
	closed  bool
	in      int
	perAddr map[string]int // only if there is a limit for each address
}

// NewGate returns a gate with the limits Options.MaxConns and Options.MaxConnsPerIP. 0 or less is no limit.
func NewGate(maxConns, maxConnsPerIP int) *Gate {
	return &Gate{
		maxConns:      maxConns,
		maxConnsPerIP: maxConnsPerIP,
		emptied:       make(chan struct{}),
		perAddr:       make(map[string]int),
	}
}

// Addr returns the address by which the gate counts a client, "" if it does not count by address.
// remote is http.Request.RemoteAddr.
func (g *Gate) Addr(remote string) string {
	if g.maxConnsPerIP <= 0 {
		return ""
	}
	return clientAddr(remote)
}

// Closed returns the refusal of every request if the gate is closed, else nil.
func (g *Gate) Closed() *Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closedLocked()
}

func (g *Gate) closedLocked() *Refusal {
	if !g.closed {
		return nil
	}
	return tryLater(http.StatusServiceUnavailable, "the server is shutting down", "")
}

// Enter counts a connection from addr and returns nil, or returns the refusal. addr was returned by Addr.
func (g *Gate) Enter(addr string) *Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if refusal := g.closedLocked(); refusal != nil {
		return refusal
	}
	switch {
	case g.maxConns > 0 && g.in >= g.maxConns:
		return tryLater(http.StatusServiceUnavailable, "too many connections",
			fmt.Sprintf("%d connections (Options.MaxConns)", g.in))
	case g.maxConnsPerIP > 0 && g.perAddr[addr] >= g.maxConnsPerIP:
		return tryLater(http.StatusTooManyRequests, "too many connections from your address",
			fmt.Sprintf("%d connections from %s (Options.MaxConnsPerIP)", g.perAddr[addr], Clip(addr)))
	}
	g.in++
	if g.maxConnsPerIP > 0 {
		g.perAddr[addr]++
	}
	return nil
}

// Leave counts a connection out. It is called once for each Enter that returned nil, with the same addr.
func (g *Gate) Leave(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in--
	if g.perAddr[addr] > 1 {
		g.perAddr[addr]--
	} else {
		delete(g.perAddr, addr)
	}
	if g.closed && g.in == 0 {
		close(g.emptied) // nothing enters a closed gate, so this is the last to leave
	}
}

// Close makes every later Enter return a refusal. It may be called more than once.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed && g.in == 0 {
		close(g.emptied)
	}
	g.closed = true
}

// Empty returns a channel that is closed once the gate is closed and its count is 0.
func (g *Gate) Empty() <-chan struct{} { return g.emptied }

// Len returns the number of connections.
func (g *Gate) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in
}

// clientAddr returns the client's address. Of an IPv6 address it returns the /64, because one client has all of it.
func clientAddr(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		// Middleware that sets the address of a client behind a proxy may omit the port.
		host = strings.Trim(remote, "[]")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.WithZone("").Prefix(64) // an IPv6 address has more than 64 bits, so there is no error
	return prefix.String()
}

// tryLater returns a refusal whose Retry-After spreads the clients over the next seconds.
func tryLater(status int, text, detail string) *Refusal {
	refusal := refuse(status, text)
	if detail != "" {
		refusal.Detail = detail
	}
	refusal.Header = http.Header{"Retry-After": {strconv.Itoa(1 + rand.IntN(5))}}
	return refusal
}
