package soak_test

// A round: a server with random options, from its start to its end, and the checks at its end.

import (
	"bufio"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
	"example.com/hail/test/internal/kit"
)

// patience bounds the wait for something that has to end.
const patience = 10 * time.Second

type round struct {
	seed      uint64
	server    *hail.Server
	transport transport
	kind      string
	pure      bool        // no topics
	history   int         // messages
	resets    bool        // injected faults may reset connections
	early     atomic.Bool // a callback may still shut the server down
	stay      chan struct{}
	others    sync.WaitGroup // goroutines that callbacks have started
	panics    atomic.Int64
	published atomic.Int64
	faults    atomic.Int64 // faults outside system calls
	lateness  lateness
	topics    map[string]*topic

	mu     sync.Mutex
	fates  map[string]*fate
	random *rand.Rand // for draws that belong to no connection
	stray  []string   // callbacks that should not have been called
}

// result is a round's part of the summary.
type result struct {
	stats  hail.Stats
	conns  int
	kind   string
	wrong  []string
	faults int
	onTime int // connections on which a wrong timeout would have been noticed
}

func days(d time.Duration, r *rand.Rand) time.Duration {
	return d/2 + time.Duration(r.Int64N(int64(d)))
}

// play plays a round of conns connections, of which at most atOnce are busy.
func play(seed uint64, conns, atOnce int) result {
	r := rand.New(rand.NewPCG(seed, 1))
	before, files, buffers := runtime.NumGoroutine(), openFiles(), link.Buffers()
	rd := &round{seed: seed, stay: make(chan struct{}), fates: map[string]*fate{}, topics: map[string]*topic{}, pure: r.IntN(3) == 0,
		kind: kinds[r.IntN(len(kinds))], random: rand.New(rand.NewPCG(seed, 2))}
	for _, name := range topicNames {
		rd.topics[name] = &topic{name: name}
	}
	var f poll.Faults
	if r.IntN(4) > 0 {
		f = poll.Faults{Short: 5 + r.IntN(50), Blocked: 5 + r.IntN(50), Reset: 500 + r.IntN(5000), Slow: 2 + r.IntN(20), NoFile: 5 + r.IntN(50)}
	}
	rd.resets = f.Reset > 0
	faults := poll.Inject(f, seed)
	rd.start(r)
	watched := make(chan struct{})
	go rd.lateness.watch(watched) // ends with the round, which waits for it; so does probe
	probed := make(chan struct{})
	go rd.probe(probed)
	stop := rd.listen(r.IntN(3) == 0)
	restore := func() {}
	if r.IntN(8) == 0 {
		restore = limitFiles(atOnce + r.IntN(atOnce)) // a connection has two descriptors
	}
	calm := r.IntN(3) > 0
	rd.early.Store(!calm && r.IntN(3) == 0)
	alive := rd.run(r, conns, atOnce, calm)
	if calm {
		for _, t := range rd.topics {
			t.turn.Lock()
			t.over = true
			t.turn.Unlock()
		}
		rd.settle()
	}
	wrong := rd.end(r, calm)
	close(rd.stay)
	alive.Wait()
	rd.others.Wait()
	restore()
	stop()
	watched <- struct{}{}
	probed <- struct{}{}
	res := result{stats: rd.server.Stats(), conns: conns, kind: rd.kind, wrong: append(wrong, rd.judge(calm)...)}
	for _, f := range rd.fates {
		if f.onTime() {
			res.onTime++
		}
	}
	res.faults = poll.Inject(poll.Faults{}, 0) - faults + int(rd.faults.Load())
	res.wrong = append(res.wrong, left("goroutines", before, runtime.NumGoroutine)...)
	res.wrong = append(res.wrong, left("descriptors", files, openFiles)...)
	res.wrong = append(res.wrong, left("buffers", int(buffers), func() int { return int(link.Buffers()) })...)
	res.wrong = append(res.wrong, left("connections", 0, rd.reachable)...)
	return res
}

// probe asks connections again and again whether they are ending. If one is not, it has to get all that was published before.
func (rd *round) probe(done chan struct{}) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		for c := range rd.server.Conns() {
			if f, ok := c.State().(*fate); ok {
				rd.ask(c, f)
			}
		}
	}
}

// ask subscribes to a topic that the connection is on already. That fails only if the connection is ending.
func (rd *round) ask(c *hail.Conn, f *fate) {
	f.subscribing.Lock()
	defer f.subscribing.Unlock()
	done := rd.doneNow()
	for _, name := range topicNames[:3] {
		f.mu.Lock()
		on := f.topics[name].current() != nil
		f.mu.Unlock()
		if on && c.Subscribe(name) == nil {
			f.mu.Lock()
			f.alive(done)
			f.mu.Unlock()
			return
		}
	}
}

// settle waits until the clients that stay and read have all messages that were sent and published to them, and the server
// has all messages of theirs. No message may wait for another event. On a busy machine messages arrive late, so settle
// complains only if none of the clients has received anything for long.
func (rd *round) settle() {
	before, since := -1, time.Now()
	for ; ; time.Sleep(5 * time.Millisecond) {
		var waits []*fate
		came := 0
		rd.mu.Lock()
		for _, f := range rd.fates {
			settled, n := f.settled("")
			if !settled {
				waits = append(waits, f)
				came += n
			}
		}
		rd.mu.Unlock()
		if len(waits) == 0 {
			return
		}
		if came != before {
			before, since = came, time.Now()
		}
		if time.Since(since) > patience/2 {
			for _, f := range waits {
				f.settled("nothing hinders it, but")
			}
			return
		}
	}
}

// reachable returns how many connections are still referred to, by the server or by anything else.
func (rd *round) reachable() (n int) {
	runtime.GC()
	for _, f := range rd.fates {
		if f.conn.Value() != nil {
			n++
		}
	}
	runtime.KeepAlive(rd.server)
	return n
}

// start draws the options.
func (rd *round) start(r *rand.Rand) {
	o := hail.Options{
		Compression:    r.IntN(2) == 0,
		ReuseBuffers:   r.IntN(2) == 0,
		SendQueue:      []int{0, 16 << 10, 70 << 10, 300 << 10}[r.IntN(4)],
		WriteTimeout:   days(800*time.Millisecond, r),
		MessageTimeout: days(400*time.Millisecond, r),
		PingInterval:   days(100*time.Millisecond, r),
		PongTimeout:    days(500*time.Millisecond, r),
		CloseTimeout:   days(400*time.Millisecond, r),
		TopicBytes:     []int{0, 100 << 10, 10 << 10}[r.IntN(3)],
		Logger:         kit.Quiet,
	}
	if r.IntN(2) == 0 {
		o.PingInterval = -1 // a ping would push on a message that was forgotten
	}
	if r.IntN(4) == 0 {
		o.MaxConns, o.MessageRate = 20, 500
	}
	if r.IntN(2) == 0 {
		rd.history = 20 + r.IntN(30)
		o.History.Messages = rd.history
	}
	rd.server = &hail.Server{Options: o, Handler: hail.Handler{
		OnConnect: rd.onConnect,
		OnMessage: rd.onMessage,
		OnClose:   rd.onClose,
		OnError:   rd.onError,
	}}
}

// keeps reports whether a topic's history has its last n messages.
func (rd *round) keeps(n int) bool { return n <= rd.history && rd.server.TopicBytes == 0 }

// draw draws for decisions that belong to no connection.
func (rd *round) draw(n int) int {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return rd.random.IntN(n)
}

func (rd *round) fate(name string) *fate {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	f := rd.fates[name]
	if f == nil {
		f = newFate(rd, name)
		rd.fates[name] = f
	}
	return f
}

// listen serves until stop. If small, the system's buffers are small.
func (rd *round) listen(small bool) (stop func()) {
	rd.transport = rd.open(small)
	hs := &http.Server{Handler: rd.server, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() { // ends with stop, which waits for it
		defer close(served)
		hs.Serve(rd.transport)
	}()
	return func() {
		hs.Close()
		<-served
	}
}

// run lets the clients live. It returns when all have begun or, if calm, when all except those that stay have ended
// and those that stay are idle.
func (rd *round) run(r *rand.Rand, conns, atOnce int, calm bool) *sync.WaitGroup {
	var alive, busy sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range conns {
		cr := rand.New(rand.NewPCG(rd.seed, uint64(1000+i)))
		slots <- struct{}{}
		busy.Add(1)
		once := sync.OnceFunc(func() { <-slots; busy.Done() })
		alive.Go(func() { // ends with its connection, at the latest after stay is closed
			defer once()
			rd.client(i, cr, once)
		})
	}
	if calm {
		busy.Wait()
	}
	return &alive
}

func (rd *round) client(i int, r *rand.Rand, idle func()) {
	nc, err := rd.transport.dial()
	for try := 0; err != nil; try++ { // no descriptor is free
		if try == 20 {
			return
		}
		time.Sleep(5 * time.Millisecond)
		nc, err = rd.transport.dial()
	}
	nc.SetDeadline(time.Now().Add(patience / 5)) // otherwise clients hold the descriptors that the server needs to accept them
	f := rd.fate(name(i))
	c := &client{r: r, nc: nc, br: bufio.NewReader(nc), f: f, answers: make(chan []byte, 100), read: make(chan struct{})}
	if !c.handshake("/" + name(i)) {
		c.deafen()
		return
	}
	nc.SetDeadline(time.Time{})
	go c.listen() // both are waited for below
	go c.answer()
	c.live(func() {
		f.mu.Lock()
		f.stays = !c.stalled.Load()
		f.mu.Unlock()
		idle()
		<-rd.stay
	})
	idle()
	<-c.read
	nc.Close()
}
