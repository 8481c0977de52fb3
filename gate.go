package hail

// Who is let in: the server's state and its limits on connections, before the upgrade.

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// gate counts the connections that are in, from before the handshake until after OnClose.
type gate struct {
	mu       sync.Mutex
	draining bool
	cut      *cutting // nil: those that come late are drained
	in       int
	perAddr  map[string]int // only where Options.MaxConnsPerIP is on
	emptied  chan struct{}  // closed when a closed gate has nobody in
}

// cutting is why connections are cut, and how many came late for that.
type cutting struct {
	cause Cause
	why   error
	late  atomic.Int32
}

// enter lets a connection from addr in, or says why not.
func (g *gate) enter(addr string, o *Options) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return &refusal{status: http.StatusServiceUnavailable, text: "the server is shutting down",
			header: retryAfter()}
	case o.MaxConns > 0 && g.in >= o.MaxConns:
		return &refusal{status: http.StatusServiceUnavailable, text: "too many connections",
			detail: fmt.Sprintf("%d connections (Options.MaxConns)", g.in), header: retryAfter()}
	case o.MaxConnsPerIP > 0 && g.perAddr[addr] >= o.MaxConnsPerIP:
		return &refusal{status: http.StatusTooManyRequests, text: "too many connections from your address",
			detail: fmt.Sprintf("%d connections from %s (Options.MaxConnsPerIP)", g.perAddr[addr], addr), header: retryAfter()}
	}
	g.in++
	if o.MaxConnsPerIP > 0 {
		if g.perAddr == nil {
			g.perAddr = make(map[string]int)
		}
		g.perAddr[addr]++
	}
	return nil
}

// leave is called once for each that entered.
func (g *gate) leave(addr string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in--
	if g.perAddr[addr] > 1 {
		g.perAddr[addr]--
	} else {
		delete(g.perAddr, addr)
	}
	g.settleLocked()
}

// close lets nobody in any more. Who is on the way in is drained, or cut where cut says why. It returns what cuts them, which
// is whatever came first.
func (g *gate) close(cut *cutting) *cutting {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	or(&g.cut, cut)
	g.emptyLocked()
	g.settleLocked()
	return g.cut
}

// closed reports whether a connection that is in has to go, and why where that is at once.
func (g *gate) closed() (draining bool, cut *cutting) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining, g.cut
}

// empty returns a channel that is closed once the gate is closed and nobody is in.
func (g *gate) empty() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.emptyLocked()
}

func (g *gate) emptyLocked() chan struct{} {
	if g.emptied == nil {
		g.emptied = make(chan struct{})
	}
	return g.emptied
}

func (g *gate) settleLocked() {
	if !g.draining || g.in > 0 {
		return
	}
	select {
	case <-g.emptied:
	default:
		close(g.emptied)
	}
}

func (g *gate) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in
}

// clientAddr returns what MaxConnsPerIP counts by: the client's address, of IPv6 its /64.
func clientAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		// Middleware that knows the client behind a proxy may leave the port out.
		host = strings.Trim(r.RemoteAddr, "[]")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.WithZone("").Prefix(64) // an IPv6 address has this many bits
	return prefix.String()
}

// retryAfter spreads the clients that were sent away over the next seconds.
func retryAfter() http.Header {
	return http.Header{"Retry-After": {strconv.Itoa(1 + rand.IntN(5))}}
}
