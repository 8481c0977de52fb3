package hail

// Topics: messages that are published once, and written to each subscriber.

import (
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"

	"example.com/hail/internal/fanout"
	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
)

// maxTopicName is the longest name of a topic, in bytes.
const maxTopicName = 256

// Broadcast publishes m to every open connection, as Conns has them. It is like [Server.Publish] to a topic that all are on.
// That topic counts for no limit except Options.TopicBytes and TopicMessages.
func (s *Server) Broadcast(m Message) error {
	s.setup()
	first, err := m.first()
	if err != nil {
		return err
	}
	s.toAll.Do(func() {
		// From now on each connection joins when it opens. It costs some 300 bytes a connection, which a server that
		// never broadcasts saves.
		s.hasToAll.Store(true)
		for o := range s.conns.All() {
			if c := (*Conn)(o); c.opens.Load() {
				c.joinAll()
			}
		}
	})
	return s.published(s.hub.Broadcast(first, m.Data))
}

// Publish sends m to all subscribers of the topic, and copies its data. A topic need not be made: it exists while
// a connection is subscribed to it, or Options.History keeps messages of it.
//
// All subscribers get a topic's messages in one order. Messages that one goroutine publishes to a topic and sends to a
// connection arrive there in the order of its calls. Messages of different topics may overtake each other.
//
// Publish waits for no peer. m is kept once, and a connection that has not written it yet keeps only its place in the topic.
// A connection that is more than Options.TopicBytes or TopicMessages behind is closed with 1013 and CauseSlowConsumer.
// If messages are published faster than they can be written to anyone, Publish helps to write, and may wait some
// milliseconds for other goroutines that do.
//
// The error is ErrServerClosed, or says what is wrong with the topic's name or m. It is nil if there is no subscriber.
func (s *Server) Publish(topic string, m Message) error {
	s.setup()
	if err := checkTopic(topic); err != nil {
		return err
	}
	return s.publish(topic, m, 0)
}

// PublishSeq is Publish for a message that carries its own sequence number, for [Conn.SubscribeSince] to resume from.
// message builds it. It is called once, under the topic's lock: it should be quick, and may not call hail.
// If it panics, nothing is published.
//
// Every message has a number, larger than those of all topics before it, so one topic has gaps. Numbers start at the
// time of day in microseconds, so they rise over restarts. They stay below 2^53: JavaScript can represent them.
func (s *Server) PublishSeq(topic string, message func(seq uint64) Message) error {
	s.setup()
	if err := checkTopic(topic); err != nil {
		return err
	}
	_, err := s.hub.PublishSeq(topic, 0, func(seq uint64) (byte, []byte, error) {
		m := message(seq)
		first, err := m.first()
		return first, m.Data, err
	})
	return s.published(err)
}

// Topics returns the topics, each with the number of its subscribers: 0 if only Options.History keeps it.
// The loop holds no lock. It may miss topics that come or go while it runs.
func (s *Server) Topics() iter.Seq2[string, int] {
	s.setup()
	return s.hub.Topics()
}

// Subscribe puts the connection on topics: from now on it gets the messages that are published to them, except its own
// ([Conn.Publish]). A name is any UTF-8 of at most 256 bytes. Subscribing twice is subscribing once. OnConnect may subscribe.
//
// The error is ErrConnClosed, or says what is wrong with a name, or that Options.MaxTopics is reached. The topics before
// the one that failed have been joined.
func (c *Conn) Subscribe(topics ...string) error {
	for _, topic := range topics {
		if err := checkTopic(topic); err != nil {
			return err
		}
		err := c.join(func(s *fanout.Subscriber) (*fanout.Cursor, error) { return s.Join(topic) })
		if err != nil {
			return err
		}
	}
	return nil
}

// SubscribeSince is Subscribe that first delivers the topic's messages after the one with the sequence number seq, as far as
// Options.History has them. [Server.PublishSeq] tells a message its number. A client that comes back says which it had last;
// a new one says 0.
//
// complete reports whether nothing is missing. If it is false, the client has to get what it lacks elsewhere. complete is
// false if seq is 0 or not a number this server has issued. It may be false if the topic has had neither messages nor
// subscribers for a while. If the connection is on the topic already, nothing is delivered again, and complete is false.
func (c *Conn) SubscribeSince(topic string, seq uint64) (complete bool, err error) {
	if err := checkTopic(topic); err != nil {
		return false, err
	}
	err = c.join(func(s *fanout.Subscriber) (cursor *fanout.Cursor, err error) {
		cursor, complete, err = s.Since(topic, seq)
		return cursor, err
	})
	return complete, err
}

// Unsubscribe takes the connection off topics. Messages published to them before are still delivered. Topics that it is not
// on are ignored. The only error is ErrConnClosed.
func (c *Conn) Unsubscribe(topics ...string) error {
	for _, topic := range topics {
		err := c.link.Unlisten(func() link.Source {
			if s := c.topics.Load(); s != nil {
				if cursor := s.Leave(topic); cursor != nil {
					return cursor
				}
			}
			return nil
		})
		if err != nil {
			return c.closedError()
		}
	}
	return nil
}

// Topics returns the topics that the connection is on, in the order of joining. When the connection is closing or closed,
// they are those it was on before: OnClose can tell the others there that it has left.
func (c *Conn) Topics() []string {
	if s := c.topics.Load(); s != nil {
		return s.Names()
	}
	return nil
}

// Publish is [Server.Publish] to all subscribers except this connection. It need not be on the topic, and may be closed.
func (c *Conn) Publish(topic string, m Message) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	return c.server.publish(topic, m, c.ID())
}

func (s *Server) publish(topic string, m Message, sender uint64) error {
	first, err := m.first()
	if err != nil {
		return err
	}
	_, err = s.hub.Publish(topic, first, m.Data, sender)
	return s.published(err)
}

// published counts a message, or returns why it was not published.
func (s *Server) published(err error) error {
	switch err {
	case nil:
		s.stats.published.Add(1)
	case fanout.ErrClosed:
		return ErrServerClosed
	}
	return err
}

// checkTopic returns what is wrong with a topic's name.
func checkTopic(topic string) error {
	if len(topic) > maxTopicName {
		return fmt.Errorf("hail: topic name of %d bytes is longer than %d", len(topic), maxTopicName)
	}
	if !utf8.ValidString(topic) {
		return errors.New("hail: topic name is not valid UTF-8")
	}
	return nil
}

// subscriber returns the connection's topics, and makes them if there are none. The link's lock is held.
func (c *Conn) subscriber() *fanout.Subscriber {
	s := c.topics.Load()
	if s == nil {
		s = c.server.hub.NewSubscriber(c.server.options.MaxTopics, c.ID(), c.link.Compresses(), (*owner)(c))
		c.topics.Store(s)
	}
	return s
}

// join has the messages of the topic that f joins written to the connection. f runs under the link's lock.
func (c *Conn) join(f func(*fanout.Subscriber) (*fanout.Cursor, error)) error {
	err := c.link.Listen(func() (link.Source, error) {
		cursor, err := f(c.subscriber())
		if cursor == nil {
			return nil, err
		}
		return cursor, err
	})
	switch err {
	case nil:
		return nil
	case fanout.ErrTopics:
		return fmt.Errorf("hail: connection is on %d topics already (Options.MaxTopics)", c.server.options.MaxTopics)
	case fanout.ErrLeft:
		return fmt.Errorf("hail: connection has left %d topics or more whose messages are not all written (Options.MaxTopics)", fanout.MaxLeft)
	default:
		return c.closedError()
	}
}

// hearAll has broadcasts written to a connection that is about to count as open. Either the first broadcast sees that
// it opens, or this sees the broadcast.
func (c *Conn) hearAll() {
	c.opens.Store(true)
	if c.server.hasToAll.Load() {
		c.joinAll()
	}
}

// joinAll has broadcasts written to the connection, if they are not yet.
func (c *Conn) joinAll() {
	// An error means that the connection is closing: it misses nothing.
	_ = c.link.Listen(func() (link.Source, error) {
		if c.hearsAll {
			return nil, nil
		}
		c.hearsAll = true
		return c.server.hub.SubscribeAll(c.link.Compresses(), (*owner)(c)), nil
	})
}

var _ fanout.Target = (*owner)(nil)

func (o *owner) Wake(cursor *fanout.Cursor) { o.link.Wake(cursor) }

// Slow ends a connection that has fallen off a topic's log.
func (o *owner) Slow(err error) {
	(*Conn)(o).apply(life.Expire, CloseInfo{Code: StatusTryAgainLater, Reason: "too slow", Cause: CauseSlowConsumer, Err: err})
}
