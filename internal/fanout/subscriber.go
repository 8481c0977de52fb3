package fanout

// Subscribers: the topics of a connection.

import (
	"errors"
	"slices"
	"sync"
)

var (
	// ErrTopics is returned to a subscriber that is on its maximum of topics.
	ErrTopics = errors.New("fanout: on too many topics")
	// ErrLeft is returned to a subscriber that has left [MaxLeft] topics or more and not read all their messages.
	ErrLeft = errors.New("fanout: too many topics left whose messages are not all read")
)

const (
	// MaxLeft limits the topics that a subscriber has left with unread messages. At the limit it cannot join another.
	MaxLeft = 64
	// A map of this many names or fewer is not worth its memory.
	fewTopics = 8
)

// Subscriber keeps the topics that a connection is on, and those that it has left with unread messages. Names still
// returns the topics after the last call of Join, Since or Leave.
type Subscriber struct {
	hub       *Hub
	target    Target
	id        uint64
	maxTopics int
	deflate   bool

	mu     sync.Mutex
	topics []*Cursor          // in the order of joining
	byName map[string]*Cursor // the same; nil while they are few
	left   []*Cursor          // those that were not drained at the last check
}

// NewSubscriber returns a subscriber that is on no topic. maxTopics limits its topics; negative: no limit. The other
// arguments are those of [Hub.Subscribe].
func (h *Hub) NewSubscriber(maxTopics int, id uint64, deflate bool, target Target) *Subscriber {
	return &Subscriber{hub: h, target: target, id: id, maxTopics: maxTopics, deflate: deflate}
}

// Join subscribes to a topic, with [Hub.Subscribe]. The cursor is nil if the subscriber is on the topic already. If it has
// left the topic with unread messages, the owner has to read those first.
func (s *Subscriber) Join(name string) (c *Cursor, err error) {
	return s.join(name, func() *Cursor { return s.hub.Subscribe(name, s.id, s.deflate, s.target) })
}

// Since is Join with [Hub.SubscribeSince].
func (s *Subscriber) Since(name string, seq uint64) (c *Cursor, complete bool, err error) {
	c, err = s.join(name, func() (c *Cursor) {
		c, complete = s.hub.SubscribeSince(name, seq, s.id, s.deflate, s.target)
		return c
	})
	return c, complete, err
}

// join adds the cursor that open returns.
func (s *Subscriber) join(name string, open func() *Cursor) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findLocked(name) != nil {
		return nil, nil
	}
	if s.maxTopics >= 0 {
		if len(s.topics) >= s.maxTopics {
			return nil, ErrTopics
		}
		if len(s.left) >= MaxLeft && s.leftLocked() >= MaxLeft {
			return nil, ErrLeft
		}
	}
	c := open()
	s.topics = append(s.topics, c)
	switch {
	case s.byName != nil:
		s.byName[c.topic.name] = c
	case len(s.topics) > fewTopics:
		s.byName = make(map[string]*Cursor)
		for _, c := range s.topics {
			s.byName[c.topic.name] = c
		}
	}
	return c, nil
}

// Leave ends the subscription to a topic, and returns its cursor. The cursor is nil if the subscriber is not on the topic.
func (s *Subscriber) Leave(name string) *Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.findLocked(name)
	if c == nil {
		return nil
	}
	at := slices.Index(s.topics, c)
	s.topics = slices.Delete(s.topics, at, at+1)
	delete(s.byName, name)
	if len(s.topics) < fewTopics/2 {
		s.byName = nil
	}
	if 4*len(s.topics) < cap(s.topics) {
		s.topics = slices.Clone(s.topics)
	}
	if c.End(); !c.Drained() {
		s.leftLocked()
		s.left = append(s.left, c)
	}
	return c
}

// Names returns the topics that the subscriber is on, in the order of joining.
func (s *Subscriber) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, len(s.topics))
	for i, c := range s.topics {
		names[i] = c.topic.name
	}
	return names
}

// findLocked returns the subscription to a topic, nil if there is none.
func (s *Subscriber) findLocked(name string) *Cursor {
	if s.byName != nil {
		return s.byName[name]
	}
	for _, c := range s.topics {
		if c.topic.name == name {
			return c
		}
	}
	return nil
}

// leftLocked forgets topics whose messages were all read since, and returns how many are left with unread messages.
func (s *Subscriber) leftLocked() int {
	s.left = slices.DeleteFunc(s.left, (*Cursor).Drained)
	if len(s.left) == 0 {
		s.left = nil
	}
	return len(s.left)
}
