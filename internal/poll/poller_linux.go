package poll

// The Poller: one edge-triggered epoll set, and the goroutines that serve the sockets in it.
//
// A worker takes a socket from the queue of those that are ready, and serves it until it is drained. A worker that
// finds the queue empty becomes the poller: it waits for events, queues what they say is ready, gives that part
// back, and works again. So nothing is handed from one goroutine to another as long as callbacks return soon.
// Where one does not, the watchdog sees it within a millisecond and starts another worker; for the next second
// each worker then starts another before it serves, so that any number of blocked callbacks delay nobody.

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// What the poller takes from the system at a time.
	maxEvents = 256
	// A worker that moves nothing for so long is blocked in a callback.
	watchTick = time.Millisecond
	// How long after such a sight no callback is trusted to return soon.
	wary = time.Second
)

// Poller makes Sockets: for TCP and Unix sockets such as hold no goroutine while idle. While it has some of these, one
// goroutine waits for all of them. Its zero value is ready; it may not be copied.
type Poller struct {
	mu      sync.Mutex
	set     *epollSet
	table   []*sock // by descriptor
	sockets int     // in the table
	gen     uint32  // of the newest
	queue   queue
	workers []*worker
	polling bool // one of the workers waits for events
	leaving bool // it has been told to look up
	left    *sync.Cond

	// Guarded by mu, for the watchdog.
	dog     *time.Timer
	watched bool // dog runs
	drained bool // the queue was empty since the last tick
	until   time.Time
	trusted bool // not before until

	events [maxEvents]unix.EpollEvent // owned by the poller
}

// worker is one goroutine that serves sockets.
type worker struct {
	moves atomic.Uint32 // counts what it has begun to serve
	seen  uint32        // moves, at the watchdog's last tick
}

// task is a socket that has something to do: to be read, or to be written.
type task struct {
	s     *sock
	write bool
}

// queue holds tasks, first in first out.
type queue struct {
	tasks []task
	head  int
}

func (q *queue) len() int { return len(q.tasks) - q.head }

func (q *queue) push(t task) { q.tasks = append(q.tasks, t) }

func (q *queue) pop() task {
	t := q.tasks[q.head]
	q.tasks[q.head] = task{}
	q.head++
	switch {
	case q.head < len(q.tasks):
	case cap(q.tasks) > 4*maxEvents:
		*q = queue{}
	default:
		q.tasks, q.head = q.tasks[:0], 0
	}
	return t
}

// New returns the Socket for nc, which it owns from then on: the best kind for its type.
func (p *Poller) New(nc net.Conn, h Handler) Socket {
	// The exact types only: a type around one may read and write other bytes.
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if s, err := p.adopt(nc, h); err == nil {
			return s
		}
		// No descriptor is left for the set or the duplicate: a goroutine needs none.
	}
	return newStream(nc, h)
}

// add puts a socket into the set. Until it is started, events only leave their marks.
func (p *Poller) add(s *sock) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.set == nil {
		set, err := newEpollSet()
		if err != nil {
			return err
		}
		p.set = set
	}
	p.gen++
	s.gen = p.gen
	for len(p.table) <= s.fd {
		p.table = append(p.table, nil)
	}
	if err := p.set.add(s.fd, s.gen); err != nil {
		return err
	}
	p.table[s.fd] = s
	p.sockets++
	if p.sockets == 1 && len(p.workers) == 0 {
		p.startLocked()
	}
	return nil
}

// forget takes a socket out of the table, before its descriptor is closed.
func (p *Poller) forget(s *sock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table[s.fd] = nil
}

// done says that nothing of a socket runs any more.
func (p *Poller) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets--
	if p.sockets == 0 && p.polling && !p.leaving {
		p.leaving = true
		p.set.interrupt(true)
	}
}

// Halt waits for the goroutines of a Poller whose sockets have ended.
func (p *Poller) Halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == nil {
		p.left = sync.NewCond(&p.mu)
	}
	for p.sockets == 0 && (len(p.workers) > 0 || p.watched) {
		if p.watched && p.dog.Stop() {
			p.watched = false
			continue
		}
		p.left.Wait()
	}
}

// push queues a task from outside the poller, and sees to it that a worker comes to it.
func (p *Poller) push(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.push(t)
	idle := 0
	if p.polling {
		idle = 1
	}
	if len(p.workers) == idle || p.waryLocked() {
		p.startLocked()
	}
	p.watchLocked()
}

// startLocked starts a worker. It ends when there is nothing to serve and another waits for events,
// or the last socket has ended; Halt waits for it.
func (p *Poller) startLocked() {
	w := &worker{}
	p.workers = append(p.workers, w)
	go p.work(w)
}

// work serves sockets. startLocked starts it.
func (p *Poller) work(w *worker) {
	var t task
	defer func() {
		if t.s == nil {
			return
		}
		go p.work(w) // user code has ended the goroutine
		if !t.s.finished {
			p.push(t)
		}
	}()
	for {
		t = p.next(w)
		if t.s == nil {
			return
		}
		w.moves.Add(1)
		if t.write {
			t.s.write()
		} else {
			t.s.serve()
		}
	}
}

// next returns what to serve, waiting for it where nobody else waits; the zero task ends the worker.
func (p *Poller) next(w *worker) task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queue.len() == 0 {
		p.drained = true
		if p.polling || p.sockets == 0 {
			p.leaveLocked(w)
			return task{}
		}
		p.pollLocked()
	}
	t := p.queue.pop()
	if p.waryLocked() && (p.queue.len() > 0 || !p.polling) {
		p.startLocked()
	}
	p.watchLocked()
	return t
}

func (p *Poller) leaveLocked(w *worker) {
	for i, other := range p.workers {
		if other == w {
			last := len(p.workers) - 1
			p.workers[i] = p.workers[last]
			p.workers[last] = nil
			p.workers = p.workers[:last]
			break
		}
	}
	if p.left != nil {
		p.left.Broadcast()
	}
}

// pollLocked waits for events, without mu, and queues what they say is ready.
func (p *Poller) pollLocked() {
	p.polling = true
	if p.leaving {
		p.leaving = false
		p.set.interrupt(false)
	}
	p.mu.Unlock()
	n := p.set.wait(p.events[:])
	var gone []*sock
	p.mu.Lock()
	for _, e := range p.events[:n] {
		if s := p.table[e.Fd]; s != nil && s.gen == uint32(e.Pad) && s.event(e.Events) {
			gone = append(gone, s)
		}
	}
	if gone != nil {
		p.mu.Unlock()
		for _, s := range gone {
			s.h.Hangup(io.EOF)
		}
		p.mu.Lock()
	}
	p.polling = false
}

// waryLocked reports whether callbacks are not trusted to return soon.
func (p *Poller) waryLocked() bool {
	if !p.trusted && time.Now().After(p.until) {
		p.trusted = true
	}
	return !p.trusted
}

// watchLocked has the watchdog run while something is served.
func (p *Poller) watchLocked() {
	switch {
	case p.watched:
		return
	case p.dog == nil:
		p.dog = time.AfterFunc(watchTick, p.watch)
	default:
		p.dog.Reset(watchTick)
	}
	p.watched = true
}

// watch is the watchdog's tick: it starts a worker where all that there are seem to be blocked, or cannot keep up.
func (p *Poller) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	moving := 0
	for _, w := range p.workers {
		if n := w.moves.Load(); n != w.seen {
			w.seen = n
			moving++
		}
	}
	switch {
	case len(p.workers) == 0, moving == 0 && p.queue.len() == 0 && p.polling:
		// Nothing more can be wrong until the next task, which starts the watchdog again.
		p.watched = false
		if p.left != nil {
			p.left.Broadcast()
		}
		return
	case moving == 0:
		p.trusted, p.until = false, time.Now().Add(wary)
		p.startLocked()
	case p.queue.len() > 0 && !p.drained && moving < runtime.GOMAXPROCS(0):
		p.startLocked()
	}
	p.drained = p.queue.len() == 0
	p.dog.Reset(watchTick)
}

// epollSet is an epoll set that is itself waited for by the runtime's poller, so that no thread is.
type epollSet struct {
	fd   int
	file *os.File // closes fd when nobody refers to the set any more

	// Owned by the poller.
	rc     rawReader
	events []unix.EpollEvent
	n      int
	ready  func(fd uintptr) bool
}

type rawReader interface {
	Read(func(fd uintptr) bool) error
}

func newEpollSet() (*epollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &epollSet{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	rc, err := e.file.SyscallConn()
	if err == nil {
		err = e.file.SetReadDeadline(time.Time{}) // fails where the runtime cannot wait for it
	}
	if err != nil {
		e.file.Close()
		return nil, err
	}
	e.rc = rc
	e.ready = func(fd uintptr) bool {
		e.n = 0
		n, err := unix.EpollWait(int(fd), e.events, 0)
		if err == nil {
			e.n = n
		}
		return n > 0 || err == unix.EINTR
	}
	return e, nil
}

// add watches fd for everything. Events carry the generation beside the descriptor, which the system may have
// given to another socket by the time that they are looked at.
func (e *epollSet) add(fd int, gen uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: int32(gen),
	}))
}

// wait waits until there are events, or interrupt is called, and returns how many.
func (e *epollSet) wait(events []unix.EpollEvent) int {
	e.events, e.n = events, 0
	e.rc.Read(e.ready) // its error is the interrupt
	return e.n
}

// interrupt has wait return, now and later, or no longer.
func (e *epollSet) interrupt(on bool) {
	var t time.Time
	if on {
		t = time.Unix(1, 0)
	}
	e.file.SetReadDeadline(t)
}
