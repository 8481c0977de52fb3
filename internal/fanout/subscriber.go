package fanout

// Subscribers: the topics that a connection is on.

import (
	"errors"
	"slices"
	"sync"
)

var (
	// ErrTopics is returned to a subscriber that is on as many topics as it may be.
	ErrTopics = errors.New("fanout: on too many topics")
	// ErrLeft is returned to a subscriber that has left [MaxLeft] topics, or more, and not taken all their messages.
	ErrLeft = errors.New("fanout: too many topics left whose messages are not all taken")
)

const (
	// MaxLeft is how many topics whose messages it has not all taken a subscriber may have left when it joins another.
	MaxLeft = 64
	// Among so many names a map is not worth its memory.
	fewTopics = 8
)

// Subscriber is the topics that a connection is on, and those it has left with messages to take. After its owner has
// stopped to call Join, Since and Leave, Names goes on to return the topics that it was on.
type Subscriber struct {
	hub     *Hub
	target  Target
	id      uint64
	most    int
	deflate bool

	mu     sync.Mutex
	topics []*Cursor          // in the order of joining
	byName map[string]*Cursor // the same; nil while they are few
	left   []*Cursor          // those that were not drained when they were looked at last
}

// NewSubscriber returns a subscriber that is on no topic, and may be on so many; negative: on any number. The others are as
// for [Hub.Subscribe].
func (h *Hub) NewSubscriber(most int, id uint64, deflate bool, target Target) *Subscriber {
	return &Subscriber{hub: h, target: target, id: id, most: most, deflate: deflate}
}

// Join subscribes to a topic, with [Hub.Subscribe]. The cursor is nil if the subscriber is on the topic already. If
// it has left the topic with messages to take, those are to be taken first.
func (s *Subscriber) Join(name string) (c *Cursor, err error) {
	return s.join(name, func() *Cursor { return s.hub.Subscribe(name, s.id, s.deflate, s.target) })
}

// Since does what Join does with [Hub.SubscribeSince].
func (s *Subscriber) Since(name string, seq uint64) (c *Cursor, complete bool, err error) {
	c, err = s.join(name, func() (c *Cursor) {
		c, complete = s.hub.SubscribeSince(name, seq, s.id, s.deflate, s.target)
		return c
	})
	return c, complete, err
}

func (s *Subscriber) join(name string, open func() *Cursor) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findLocked(name) != nil {
		return nil, nil
	}
	if s.most >= 0 {
		if len(s.topics) >= s.most {
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

// Leave ends the subscription to a topic, and returns its cursor. It is nil if the subscriber is not on the topic.
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

// leftLocked returns how many topics were left and have messages to take.
func (s *Subscriber) leftLocked() int {
	s.left = slices.DeleteFunc(s.left, (*Cursor).Drained)
	if len(s.left) == 0 {
		s.left = nil
	}
	return len(s.left)
}
