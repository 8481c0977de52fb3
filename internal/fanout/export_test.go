package fanout

// The inside of a hub, for tests.

// Stats are a hub's numbers.
type Stats struct {
	Topics  int // that have a name
	Cursors int // including those that have ended and are not drained
	Chunks  int // of all logs
	Bytes   int // of them that are used
}

// Stats counts the topics, cursors and chunks of the hub.
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

// Fallen reports whether the cursor has fallen off the log.
func (c *Cursor) Fallen() bool {
	if c.caughtUp() {
		return false
	}
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	return !c.gone && t.noteFallenLocked(c)
}
