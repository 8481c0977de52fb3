package poll

// The Poller: one edge-triggered epoll set, and the goroutines that serve the sockets in it.
//
// A worker takes a socket from the queue of those that are ready, and serves it until it is drained. A worker that
// finds the queue empty becomes the poller: it waits for events, queues what they say is ready, gives that part
// back, and works again. So nothing is handed from one goroutine to another as long as callbacks return soon;
// the watchdog sees to it that those that do not delay nobody else.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxEvents is what a worker takes from the system at a time.
const maxEvents = 128

// Poller makes Sockets: for TCP and Unix sockets such as hold no goroutine while idle. While it has some of these, one
// goroutine waits for all of them. Its zero value is ready; it may not be copied.
type Poller struct {
	mu      sync.Mutex
	set     *epollSet
	table   []*sock // by descriptor
	sockets int     // in the table
	gen     uint32  // of the newest
	queue   queue
	round   int // how many tasks are served before the set is looked at again
	workers []*worker
	spare   bool // one of them was started, and has not looked for a task yet
	polling bool // one of them waits for events
	leaving bool // it has been told to look up
	left    *sync.Cond
	dog     watchdog
	streams group
}

// worker is one goroutine that serves sockets.
type worker struct {
	moves atomic.Uint32 // counts what it has begun to serve

	// Guarded by the Poller's mu.
	index int    // in workers
	seen  uint32 // moves, at the watchdog's last tick
	spare bool

	events [maxEvents]unix.EpollEvent // owned by the worker
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

func (q *queue) push(t task) {
	if len(q.tasks) == cap(q.tasks) && q.head > len(q.tasks)/2 {
		// What never gets empty has to end somewhere.
		n := copy(q.tasks, q.tasks[q.head:])
		clear(q.tasks[n:])
		q.tasks, q.head = q.tasks[:n], 0
	}
	q.tasks = append(q.tasks, t)
}

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
	control(nc, limitUnsent)
	return newStream(nc, h, &p.streams)
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
	if len(p.workers) == 0 {
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
	if p.sockets > 0 {
		return
	}
	if p.polling && !p.leaving {
		p.leaving = true
		p.set.interrupt(true)
	}
	p.wakeHaltLocked()
}

// Halt waits until every socket has ended and every Done has returned, and for all goroutines. It leaves no descriptor.
func (p *Poller) Halt() {
	p.mu.Lock()
	if p.left == nil {
		p.left = sync.NewCond(&p.mu)
	}
	for p.sockets > 0 || len(p.workers) > 0 || p.dog.runs && !p.dog.stop() {
		p.left.Wait()
	}
	if p.set != nil {
		p.set.file.Close()
		p.set, p.leaving = nil, false
	}
	p.mu.Unlock()
	p.streams.wait()
}

// wakeHaltLocked has Halt look again.
func (p *Poller) wakeHaltLocked() {
	if p.left != nil {
		p.left.Broadcast()
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
	if len(p.workers) == idle || p.dog.wary {
		p.startLocked()
	}
	p.watchLocked()
}

// startLocked starts a worker, unless there is one that has yet to look for a task. It ends when there is nothing
// to serve and another waits for events, or the last socket has ended; Halt waits for it.
func (p *Poller) startLocked() {
	if p.spare {
		return
	}
	w := &worker{spare: true, index: len(p.workers)}
	p.spare = true
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
	if w.spare {
		w.spare, p.spare = false, false
	}
	for p.queue.len() == 0 || p.round <= 0 {
		switch {
		case p.queue.len() > 0:
			// Sockets that are never drained keep the queue from being empty: the others' events may not wait
			// for that, nor for the runtime to let whoever polls run.
			p.round = p.queue.len() // for those that come here meanwhile
			p.lookLocked(w)
		case p.sockets > 0 && !p.polling:
			p.waitLocked(w)
		case p.sockets == 0 || p.lookLocked(w) == 0 && p.polling && p.queue.len() == 0:
			p.leaveLocked(w)
			return task{}
		}
	}
	t := p.queue.pop()
	p.round--
	if p.dog.wary && (p.queue.len() > 0 || !p.polling) {
		p.startLocked()
	}
	p.watchLocked()
	return t
}

func (p *Poller) leaveLocked(w *worker) {
	last := len(p.workers) - 1
	p.workers[w.index] = p.workers[last]
	p.workers[w.index].index = w.index
	p.workers[last] = nil
	p.workers = p.workers[:last]
	p.wakeHaltLocked()
}

// waitLocked waits for events, and queues what they say is ready. mu is not held meanwhile.
func (p *Poller) waitLocked(w *worker) {
	p.polling = true
	if p.leaving {
		p.leaving = false
		p.set.interrupt(false)
	}
	p.mu.Unlock()
	n, rested := p.set.wait(w.events[:])
	p.mu.Lock()
	p.polling = false
	p.dog.rested = p.dog.rested || rested
	p.noteLocked(w.events[:n])
}

// lookLocked queues what the system says is ready, without waiting for it, and returns how many events there were.
// mu is not held meanwhile: whoever waited for events, or served, may have stopped.
func (p *Poller) lookLocked(w *worker) int {
	p.mu.Unlock()
	n := p.set.look(w.events[:])
	p.mu.Lock()
	p.noteLocked(w.events[:n])
	return n
}

// noteLocked queues what events say is ready.
func (p *Poller) noteLocked(events []unix.EpollEvent) {
	var gone []*sock
	for _, e := range events {
		if s := p.table[e.Fd]; s != nil && s.gen == uint32(e.Pad) && s.event(e.Events) {
			gone = append(gone, s)
		}
	}
	p.round = p.queue.len()
	if gone != nil {
		p.mu.Unlock()
		for _, s := range gone {
			s.h.Hangup(io.EOF)
		}
		p.mu.Lock()
	}
}
