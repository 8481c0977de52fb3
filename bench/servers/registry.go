package main

import "sync"

// registry has the open connections of a peer that does not keep them itself.
type registry[C comparable] struct {
	mu    sync.RWMutex
	conns map[C]struct{}
}

func (r *registry[C]) add(c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = map[C]struct{}{}
	}
	r.conns[c] = struct{}{}
}

func (r *registry[C]) remove(c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *registry[C]) each(f func(C)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.conns {
		f(c)
	}
}
