package topics_test

// What a peer must have received of a random schedule: of each subscription the messages of its topic in the topic's
// order, its own left out, from where it began or resumed to where it ended. A subscription begins and ends between two
// ticks, and so does a message's publishing.

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/hail"
)

// text returns the message's text, of a length that pad decides.
func (p post) text(pad int) string {
	return fmt.Sprintf("%d %d %d %s", p.topic, p.actor, p.n, strings.Repeat(strconv.Itoa(p.n%10), pad))
}

// parsePost is text's way back.
func parsePost(text string) (p post, err error) {
	if _, err = fmt.Sscanf(text, "%d %d %d", &p.topic, &p.actor, &p.n); err != nil {
		return p, err
	}
	if want := p.text(len(text) - 1 - strings.LastIndexByte(text, ' ')); text != want {
		return p, errors.New("message has other bytes than were sent")
	}
	return p, nil
}

// order is a topic's messages.
type order []*posting

// window returns how many messages there were at the least and at the most, when something was done between two ticks.
func (o order) window(ticks [2]int64) (least, most int) {
	most = len(o)
	for at, p := range slices.Backward(o) {
		if p.begin > ticks[1] {
			most = at
		}
		if p.end < ticks[0] {
			least = max(least, at+1)
		}
	}
	return least, most
}

// check compares what the peers have with what they must have.
func (s *schedule) check() {
	s.t.Helper()
	orders := s.learn()
	lost := 0
	for i, m := range s.members {
		got := s.received(m)
		if i == 0 {
			got = append(s.order, got...)
		}
		s.checkClose(i)
		s.checkOrder(i, got)
		most := len(m.sent)
		for topic := range orders {
			most += s.checkTopic(i, topic, orders[topic], of(got, topic))
		}
		if n := len(got) + m.undelivered(); n > most {
			s.t.Errorf("peer %d: %d messages came or are said to be undelivered, want %d at the most", i, n, most)
		}
		lost += m.undelivered()
	}
	st := s.server.Stats()
	if st.Undelivered != uint64(lost) || st.Published != uint64(len(s.postings)) {
		s.t.Errorf("Stats: %d undelivered and %d published, want %d as in CloseInfo, and %d", st.Undelivered, st.Published, lost, len(s.postings))
	}
}

// received returns what a peer got.
func (s *schedule) received(m *member) (got []post) {
	m.peer.WaitClose()
	for range m.peer.Pending() {
		p, err := parsePost(m.peer.Receive().String())
		if err != nil {
			s.t.Errorf("message %+v: %v", p, err)
		}
		got = append(got, p)
	}
	return got
}

// learn returns each topic's order, which is the witness's. It has to have all that was published.
func (s *schedule) learn() (orders [toAll + 1]order) {
	seen := make(map[post]bool)
	for _, p := range s.order {
		posting := s.postings[p]
		if posting == nil || seen[p] {
			s.t.Errorf("the witness got %+v, which was published: %v, seen before: %v", p, posting != nil, seen[p])
			continue
		}
		seen[p] = true
		posting.at = len(orders[p.topic])
		orders[p.topic] = append(orders[p.topic], posting)
	}
	if len(seen) != len(s.postings) {
		s.t.Errorf("the witness got %d messages of %d", len(seen), len(s.postings))
	}
	return orders
}

// of returns what belongs to a topic.
func of(all []post, topic int) []post {
	return slices.DeleteFunc(slices.Clone(all), func(p post) bool { return p.topic != topic })
}

var undelivered = regexp.MustCompile(`(\d+) queued messages were not written`)

// undelivered returns how many messages CloseInfo says were not written.
func (m *member) undelivered() (n int) {
	if m.info.Err != nil {
		if found := undelivered.FindStringSubmatch(m.info.Err.Error()); found != nil {
			n, _ = strconv.Atoi(found[1])
		}
	}
	return n
}

var behind = regexp.MustCompile(`^hail: [1-9]\d* messages behind on (topic "[0-9]"|broadcasts) \(Options.TopicMessages\); `)

// checkClose checks that nothing was lost without a word.
func (s *schedule) checkClose(i int) {
	m := s.members[i]
	switch slow := m.info.Cause == hail.CauseSlowConsumer; {
	case i == 0 && m.info.Err != nil,
		slow && (m.undelivered() == 0 || !behind.MatchString(m.info.Err.Error())),
		!slow && m.undelivered() == 0 && m.info.Err != nil:
		s.t.Errorf("peer %d: closed with %+v", i, m.info)
	}
}

// checkOrder checks what a connection was sent, and that it has what each goroutine sent and published to a topic in
// that order.
func (s *schedule) checkOrder(i int, got []post) {
	m := s.members[i]
	if own := of(got, ofItsOwn); len(own) > len(m.sent) || !slices.Equal(own, m.sent[:len(own)]) || len(own) < len(m.sent) && m.undelivered() == 0 {
		s.t.Errorf("peer %d: got %v of its own, want %v", i, own, m.sent)
	}
	for topic, subs := range m.subs {
		if slices.ContainsFunc(subs, func(sub *span) bool { return sub.resumes }) {
			continue // has some twice
		}
		last := make(map[int]int)
		for _, p := range got {
			if p.topic != topic && p.topic != ofItsOwn {
				continue
			}
			if p.n <= last[p.actor] {
				s.t.Errorf("peer %d: %+v comes behind message %d of the same goroutine to it or to topic %d", i, p, last[p.actor], topic)
			}
			last[p.actor] = p.n
		}
	}
}

// checkTopic checks that what came of a topic is what the subscriptions have to bring, one behind the other. It returns
// the most that they may bring.
func (s *schedule) checkTopic(i, topic int, o order, got []post) (most int) {
	m := s.members[i]
	ranks := o.ranks(m.conn.ID())
	var has []int
	for _, p := range got {
		posting := s.postings[p]
		if posting == nil || posting.from == m.conn.ID() {
			s.t.Errorf("peer %d: got %+v, which was published as %+v", i, p, posting)
			return 0
		}
		has = append(has, ranks[posting.at])
	}
	cut := m.undelivered() > 0
	brought := map[int]bool{0: true} // how many of has there may be behind the subscriptions until now
	for _, sub := range m.subs[topic] {
		starts := sub.starts(o, s.history)
		least, last := o.window(sub.until(m))
		if len(starts) > 0 {
			most += max(0, last-slices.Min(starts))
		}
		more := make(map[int]bool)
		for n := range brought {
			for _, at := range starts {
				for rank, n := ranks[at], n; rank <= ranks[last]; rank, n = rank+1, n+1 {
					if rank >= ranks[least] || cut && n == len(has) {
						more[n] = true
					}
					if n == len(has) || has[n] != rank {
						break
					}
				}
			}
		}
		brought = more
	}
	if !brought[len(has)] {
		s.t.Errorf("peer %d: of topic %d's %d messages it got, its own not counted, %v; %d undelivered of all; subscribed: %v",
			i, topic, len(o), has, m.undelivered(), s.describe(m, o, topic))
	}
	return most
}

// ranks returns how many messages go before each of the topic's, and before its end, those of a sender left out.
func (o order) ranks(sender uint64) []int {
	ranks := make([]int, len(o)+1)
	for at, p := range o {
		ranks[at+1] = ranks[at]
		if p.from != sender {
			ranks[at+1]++
		}
	}
	return ranks
}

// starts returns where the subscription may have begun.
func (sub *span) starts(o order, history int) (starts []int) {
	least, most := o.window(sub.begin)
	for n := least; n <= most; n++ {
		if !sub.resumes {
			starts = append(starts, n)
			continue
		}
		at := 0
		if sub.since != nil {
			at = sub.since.at + 1
		}
		if complete := sub.since != nil && at >= n-history; complete == sub.complete {
			starts = append(starts, max(at, n-history))
		}
	}
	return starts
}

// until returns the ticks between which the subscription ended, with the connection where not before.
func (sub *span) until(m *member) [2]int64 {
	if sub.end[1] > 0 {
		return sub.end
	}
	return [2]int64{min(m.ending.Load(), m.closed), m.closed}
}

// describe says between which ranks each subscription began, and ended.
func (s *schedule) describe(m *member, o order, topic int) (all []string) {
	ranks := o.ranks(m.conn.ID())
	for _, sub := range m.subs[topic] {
		var from []int
		for _, at := range sub.starts(o, s.history) {
			from = append(from, ranks[at])
		}
		least, most := o.window(sub.until(m))
		all = append(all, fmt.Sprintf("from %v to %d..%d (resumes: %v, complete: %v)", from, ranks[least], ranks[most], sub.resumes, sub.complete))
	}
	return all
}
