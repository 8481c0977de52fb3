package topics_test

// Random schedules of everything that concerns topics, from many goroutines. What each peer must have received of it
// is in topic_model_test.go.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestTopicsAtRandom(t *testing.T) {
	for name, opts := range kit.Transports {
		for _, history := range []int{0, 8} {
			t.Run(fmt.Sprintf("%s/history=%d", name, history), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				runSchedule(t, seed, history, opts)
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			})
		}
	}
}

const (
	chosenTopics = 3            // that a schedule subscribes to and publishes to, by number
	toAll        = chosenTopics // the number of broadcasts
	ofItsOwn     = toAll + 1    // and of what is sent to one connection
	topicLog     = 40           // messages
	witnessLead  = 15           // those on their way to the witness
)

// schedule is a server with peers, and actors who do random things with them. The first peer is the witness: it is on
// all topics all the time and takes everything, and so knows each topic's order.
type schedule struct {
	t       *testing.T
	server  *hail.Server
	history int
	members []*member
	clock   atomic.Int64  // ticks at the begin and the end of whatever is done
	lead    chan struct{} // has one for each message on its way to the witness
	order   []post        // what the witness got

	answering sync.RWMutex
	over      bool // callbacks do nothing any more

	mu       sync.Mutex
	postings map[post]*posting
	numbered [chosenTopics][]*posting // those with a known sequence number
}

// post names a message: each actor counts its own.
type post struct{ topic, actor, n int }

// posting is how a message was published.
type posting struct {
	post
	from       uint64 // the ID of the connection that is not to get it
	seq        uint64 // 0 where it is not known
	begin, end int64
	at         int // in its topic's order, once the witness has told
}

// member is a connection with its peer.
type member struct {
	peer   *hailtest.Peer
	conn   *hail.Conn
	ending atomic.Int64 // when somebody began to end it
	closed int64        // when OnClose was called
	info   hail.CloseInfo

	writing sync.Mutex
	said    bool // its close frame, behind which nothing may be written

	mu   sync.Mutex
	on   []string // what Topics has to return
	subs [toAll + 1][]*span
	sent []post // by TrySend, which returned nil
}

// span is a subscription, which began between two ticks and ended between two ticks.
type span struct {
	begin, end [2]int64
	resumes    bool     // by SubscribeSince
	since      *posting // nil: 0
	complete   bool
}

func (s *schedule) tick() int64 { return s.clock.Add(1) }

func runSchedule(t *testing.T, seed uint64, history int, opts []hailtest.Option) {
	t.Helper()
	s := &schedule{t: t, history: history, lead: make(chan struct{}, witnessLead), postings: make(map[post]*posting)}
	conns := make(chan *hail.Conn, 1)
	s.server = &hail.Server{
		Options: hail.Options{
			Logger: kit.Quiet, Compression: true, ReuseBuffers: true, TopicMessages: topicLog, History: hail.History{Messages: history},
			PingInterval: -1,                                     // a pong to a closed socket resets it, and takes what its peer has not read
			WriteTimeout: time.Minute, CloseTimeout: time.Minute, // a peer stalls for as long as the others take
		},
		Handler: hail.Handler{
			OnConnect: func(c *hail.Conn, _ *http.Request) error { conns <- c; return nil },
			OnMessage: s.answer,
			OnClose: func(c *hail.Conn, info hail.CloseInfo) {
				m := c.State().(*member)
				m.closed, m.info = s.tick(), info
			},
		},
	}
	for i := range 6 {
		s.members = append(s.members, s.dial(conns, i, opts))
	}
	for topic := range chosenTopics {
		s.subscribe(s.members[0], topic, nil)
	}
	var witness, actors sync.WaitGroup
	witness.Go(s.witness)
	for id := range 4 {
		a := &actor{s, id, 0, rand.New(rand.NewPCG(seed, uint64(id)))}
		actors.Go(func() {
			for range 120 {
				a.step()
			}
		})
	}
	actors.Wait()
	s.answering.Lock()
	s.over = true
	s.answering.Unlock()
	close(s.lead)
	witness.Wait()
	s.shutdown()
	s.check()
}

func (s *schedule) dial(conns <-chan *hail.Conn, i int, opts []hailtest.Option) *member {
	opts = append(slices.Clone(opts), hailtest.Timeout(20*time.Second))
	if i%2 == 0 {
		opts = append(opts, hailtest.Header("Sec-WebSocket-Extensions", "")) // some get nothing compressed
	}
	if i > 0 {
		opts = append(opts, hailtest.BufferSize(64<<10)) // the kernel paces smaller ones with its timers
	}
	m, begin := &member{}, s.tick()
	m.peer = hailtest.Dial(s.t, s.server, "/", opts...)
	m.conn = <-conns
	m.conn.SetState(m)
	open(s.t, s.server, i+1)
	m.subs[toAll] = []*span{{begin: [2]int64{begin, s.tick()}}}
	return m
}

// witness takes what the witness gets.
func (s *schedule) witness() {
	defer func() { // where the test has failed, publishers shall not wait
		for range s.lead {
		}
	}()
	for range s.lead {
		p, err := parsePost(s.members[0].peer.Receive().String())
		if err != nil {
			s.t.Errorf("message %+v: %v", p, err)
		}
		s.order = append(s.order, p)
	}
}

// shutdown ends the server; what is queued and published is written before.
func (s *schedule) shutdown() {
	for _, m := range s.members {
		m.ending.CompareAndSwap(0, s.tick())
		m.peer.Resume()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
	for topic, n := range s.server.Topics() {
		if n > 0 || s.history == 0 {
			s.t.Errorf("topic %q with %d subscribers is left", topic, n)
		}
	}
}

// actor is a goroutine.
type actor struct {
	*schedule
	id, n int
	r     *rand.Rand
}

// step does one thing.
func (a *actor) step() {
	m := a.members[1+a.r.IntN(len(a.members)-1)]
	topic := a.r.IntN(chosenTopics)
	switch n := a.r.IntN(100); {
	case n < 42:
		a.publish(topic, nil)
	case n < 52:
		a.publish(topic, m)
	case n < 57:
		a.publish(toAll, nil)
	case n < 67:
		a.send(m)
	case n < 77:
		a.subscribe(m, topic, a.r)
	case n < 82:
		a.unsubscribe(m, topic)
	case n < 85:
		m.write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes(), false)
	case n < 89:
		m.peer.Stall()
	case n < 93:
		m.peer.Resume()
	case n < 98:
		a.ask(m, topic)
	case n < 99:
		a.countSubscribers()
	case a.r.IntN(2) == 0:
		m.ending.CompareAndSwap(0, a.tick())
		m.conn.Close(hail.StatusNormalClosure, "")
	default:
		m.ending.CompareAndSwap(0, a.tick())
		m.write(hailtest.CloseFrame(hail.StatusGoingAway, "").Bytes(), true)
	}
}

// write has the peer write, until its close frame.
func (m *member) write(b []byte, last bool) {
	m.writing.Lock()
	defer m.writing.Unlock()
	if !m.said {
		m.said = last
		m.peer.Write(b)
	}
}

// ask has the connection's callback act, some times in a batch.
func (a *actor) ask(m *member, topic int) {
	f := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(strconv.Itoa(topic))}
	m.write(slices.Repeat(f.Bytes(), 1+a.r.IntN(4)), false)
}

// answer is OnMessage: an actor of its own, who sends, publishes to the others, and sends.
func (s *schedule) answer(c *hail.Conn, in hail.Message) error {
	topic, err := strconv.Atoi(in.String())
	if err != nil {
		return err
	}
	s.answering.RLock()
	defer s.answering.RUnlock()
	if s.over {
		return nil
	}
	m, id := c.State().(*member), s.tick()
	a := &actor{s, int(id), 0, rand.New(rand.NewPCG(uint64(id), 1))}
	a.send(m)
	a.publish(topic, m)
	a.send(m)
	return nil
}

// message returns the actor's next message, of a random size.
func (a *actor) message(topic int) (post, hail.Message) {
	a.n++
	p := post{topic, a.id, a.n}
	return p, hail.Text(p.text(min(a.r.IntN(6000), a.r.IntN(6000))))
}

// publish publishes a message, with m as its sender where that is not nil. It waits where the witness might fall behind.
func (a *actor) publish(topic int, m *member) {
	a.lead <- struct{}{}
	p, text := a.message(topic)
	posting := &posting{post: p, begin: a.tick()}
	var err error
	switch {
	case topic == toAll:
		err = a.server.Broadcast(text)
	case m != nil:
		posting.from = m.conn.ID()
		err = m.conn.Publish(strconv.Itoa(topic), text)
	case a.r.IntN(2) == 0:
		err = a.server.Publish(strconv.Itoa(topic), text)
	default:
		err = a.server.PublishSeq(strconv.Itoa(topic), func(seq uint64) hail.Message { posting.seq = seq; return text })
	}
	if err != nil {
		a.t.Errorf("publish: %v", err)
	}
	posting.end = a.tick()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.postings[p] = posting
	if posting.seq > 0 {
		a.numbered[topic] = append(a.numbered[topic], posting)
	}
}

// send sends a message to one connection.
func (a *actor) send(m *member) {
	p, text := a.message(ofItsOwn)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch err := m.conn.TrySend(text); {
	case err == nil:
		m.sent = append(m.sent, p)
	case !errors.Is(err, hail.ErrQueueFull) && !errors.Is(err, hail.ErrConnClosed):
		a.t.Errorf("TrySend: %v", err)
	}
}

// subscribe puts m on a topic. Where there is history it may resume, if r says so.
func (s *schedule) subscribe(m *member, topic int, r *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := strconv.Itoa(topic)
	if slices.Contains(m.on, name) {
		return
	}
	sub := &span{resumes: s.history > 0 && r != nil && r.IntN(3) > 0}
	var err error
	if sub.resumes {
		var seq uint64
		if sub.since = s.remembered(topic, r); sub.since != nil {
			seq = sub.since.seq
		}
		sub.begin[0] = s.tick()
		sub.complete, err = m.conn.SubscribeSince(name, seq)
	} else {
		sub.begin[0] = s.tick()
		err = m.conn.Subscribe(name)
	}
	sub.begin[1] = s.tick()
	if err == nil {
		m.subs[topic] = append(m.subs[topic], sub)
		m.on = append(m.on, name)
	}
	s.subscribed(m, err)
}

// remembered returns one of the topic's latest messages with a number, or nil.
func (s *schedule) remembered(topic int, r *rand.Rand) *posting {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.numbered[topic]
	if back := r.IntN(8); back < len(all) {
		return all[len(all)-1-back]
	}
	return nil
}

func (s *schedule) unsubscribe(m *member, topic int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.Index(m.on, strconv.Itoa(topic))
	if at < 0 {
		return
	}
	sub := m.subs[topic][len(m.subs[topic])-1]
	begin := s.tick()
	err := m.conn.Unsubscribe(strconv.Itoa(topic))
	if err == nil {
		sub.end = [2]int64{begin, s.tick()}
		m.on = slices.Delete(m.on, at, at+1)
	}
	s.subscribed(m, err)
}

// subscribed checks what a change has led to.
func (s *schedule) subscribed(m *member, err error) {
	if err != nil && !errors.Is(err, hail.ErrConnClosed) {
		s.t.Errorf("Subscribe or Unsubscribe: %v", err)
	}
	if got := m.conn.Topics(); !slices.Equal(got, m.on) {
		s.t.Errorf("Topics() = %q, want %q", got, m.on)
	}
}

func (s *schedule) countSubscribers() {
	for topic, n := range s.server.Topics() {
		if i, err := strconv.Atoi(topic); err != nil || i >= chosenTopics || n < 1 || n > len(s.members) {
			s.t.Errorf("topic %q has %d subscribers, want one that is published to with 1 to %d", topic, n, len(s.members))
		}
	}
}
