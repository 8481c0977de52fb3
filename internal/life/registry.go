package life

// All connections of a server. They are split into parts, so that cores do not wait for each other.

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// Parts is how many parts a [Registry] has.
const Parts = 16

// Place is where a member stands in a [Registry]. It is a part of the member.
type Place struct {
	number uint64
	index  int32 // guarded by the part's mu
}

// Number returns the member's number, counted from 1, which no other member has.
func (p *Place) Number() uint64 { return p.number }

// Part returns the index of the member's part.
func (p *Place) Part() int { return int(p.number % Parts) }

// Member is something with a place.
type Member interface{ Place() *Place }

// Registry holds members. Its zero value is ready. Its methods may be called from any goroutine.
type Registry[M Member] struct {
	numbers atomic.Uint64
	parts   [Parts]part[M]
}

type part[M Member] struct {
	mu      sync.Mutex
	members []M
	_       [32]byte // the next part is another core's
}

// Number gives a member that is to be added its number.
func (r *Registry[M]) Number(m M) { m.Place().number = r.numbers.Add(1) }

// Add adds a member that has a number.
func (r *Registry[M]) Add(m M) {
	p := &r.parts[m.Place().Part()]
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Place().index = int32(len(p.members))
	p.members = append(p.members, m)
}

// Remove removes a member.
func (r *Registry[M]) Remove(m M) {
	var none M
	p := &r.parts[m.Place().Part()]
	p.mu.Lock()
	defer p.mu.Unlock()
	at, last := m.Place().index, len(p.members)-1
	p.members[at] = p.members[last]
	p.members[at].Place().index = m.Place().index
	p.members[last] = none
	p.members = p.members[:last]
	if cap(p.members) > 64 && last < cap(p.members)/4 {
		p.members = slices.Clip(slices.Clone(p.members))
	}
}

// All yields each member. The loop holds no lock; it may miss members that come or go while it runs.
func (r *Registry[M]) All() iter.Seq[M] {
	return func(yield func(M) bool) {
		var members []M
		for i := range r.parts {
			p := &r.parts[i]
			p.mu.Lock()
			members = append(members[:0], p.members...)
			p.mu.Unlock()
			for _, m := range members {
				if !yield(m) {
					return
				}
			}
		}
	}
}
