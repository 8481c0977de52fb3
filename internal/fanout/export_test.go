package fanout

// What tests see of a hub's inside.

// Stats are a hub's numbers.
type Stats struct {
	Topics  int // that have a name
	Cursors int // those that have ended and not been drained too
	Chunks  int // pieces of memory that logs consist of
	Bytes   int // what of them is used
}

// Stats counts what the hub holds.
func (h *Hub) Stats() (s Stats) {
	count := func(t *topic) (int, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		s.Cursors += len(t.cursors)
		if t.log != nil {
			s.Chunks += len(t.log.chunks)
			s.Bytes += t.log.bytes
		}
		if t != h.all {
			s.Topics++
		}
		return 0, false
	}
	h.topics.each(count, nil)
	count(h.all)
	return s
}

// Topic returns the topic's name.
func (c *Cursor) Topic() string { return c.topic.name }

// Lost reports whether the cursor has fallen off the log.
func (c *Cursor) Lost() bool {
	if c.caughtUp() {
		return false
	}
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	return !c.gone && t.loseLocked(c)
}
