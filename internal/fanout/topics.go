package fanout

// The topics by name, in shards with a lock each, so that publishers seldom wait for each other.

import (
	"hash/maphash"
	"strings"
	"sync"
)

const shards = 64

// topics is a table of topics by name.
type topics struct {
	seed   maphash.Seed
	shards [shards]shard
}

// shard is a part of the table. It fills a cache line.
type shard struct {
	mu     sync.RWMutex
	byName map[string]*topic
	_      [32]byte
}

func (ts *topics) init() { ts.seed = maphash.MakeSeed() }

func (ts *topics) shard(name string) *shard {
	return &ts.shards[maphash.String(ts.seed, name)%shards]
}

// find returns the topic of that name, nil if there is none.
func (ts *topics) find(name string) *topic {
	s := ts.shard(name)
	s.mu.RLock()
	t := s.byName[name]
	s.mu.RUnlock()
	if t != nil && t.gone.Load() {
		return nil // forget is about to remove it
	}
	return t
}

// findOr returns the topic of that name. If there is none, it returns the number of a message that nobody reads. The
// shard is locked meanwhile, so a topic that is created later knows that a message came before it.
func (h *Hub) findOr(name string) (t *topic, seq uint64) {
	s := h.topics.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t = s.byName[name]; t != nil && !t.gone.Load() {
		return t, 0
	}
	return nil, h.lastSeq.Add(1)
}

// open returns the topic of that name, and creates it if there is none. The topic may be gone by the time that the caller
// has locked it.
func (h *Hub) open(name string) *topic {
	if t := h.topics.find(name); t != nil {
		return t
	}
	s := h.topics.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.byName[name]; t != nil && !t.gone.Load() {
		return t
	}
	if s.byName == nil {
		s.byName = make(map[string]*topic)
	}
	// The caller's string may be a piece of a large one.
	t := &topic{hub: h, name: strings.Clone(name), history: h.history, floor: h.lastSeq.Load()}
	s.byName[t.name] = t
	return t
}

// forget removes a topic that is gone, unless a new one of its name has replaced it.
func (ts *topics) forget(t *topic) {
	s := ts.shard(t.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[t.name] != t {
		return
	}
	delete(s.byName, t.name)
	if len(s.byName) == 0 {
		s.byName = nil // a map does not shrink
	}
}

// each calls look for every topic, and yields the name and number of those for which look returns true. yield is called
// with no lock held.
func (ts *topics) each(look func(*topic) (int, bool), yield func(string, int) bool) {
	type row struct {
		name string
		n    int
	}
	var rows []row
	for i := range ts.shards {
		s := &ts.shards[i]
		rows = rows[:0]
		s.mu.RLock()
		for name, t := range s.byName {
			if n, ok := look(t); ok {
				rows = append(rows, row{name, n})
			}
		}
		s.mu.RUnlock()
		for _, r := range rows {
			if !yield(r.name, r.n) {
				return
			}
		}
	}
}
