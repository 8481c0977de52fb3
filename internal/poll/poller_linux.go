package poll

// The Poller: one edge-triggered epoll set, and the goroutines that serve the sockets in it.
//
// A worker removes a ready socket from the queue and serves it until it is drained. A worker that finds the queue empty
// becomes the poller: it waits for events, queues the sockets that are ready, and becomes a worker again. So as long as
// callbacks return soon, no socket passes from one goroutine to another. If callbacks block, the watchdog starts more
// workers, so that other sockets do not wait for them.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxEvents is how many events a worker reads from the system at a time.
const maxEvents = 128

// Poller makes Sockets. Those for TCP and Unix sockets hold no goroutine while idle: one goroutine waits for all of them.
// Its zero value is ready. Do not copy a Poller after first use.
type Poller struct {
	mu      sync.Mutex
	set     *epollSet
	table   []*sock // by descriptor
	sockets int     // in the table
	gen     uint32  // of the newest
	queue   queue

	untilLook   int // how many tasks are served before the next look for events
	workers     []*worker
	spare       bool // one of them was started, and has not looked for a task yet
	polling     bool // one of them waits for events
	interrupted bool // it was told to stop waiting
	halting     *sync.Cond
	watchdog    watchdog
	streams     group
}

// worker is a goroutine that serves sockets.
type worker struct {
	moves atomic.Uint32 // how many tasks it has begun

	// Guarded by the Poller's mu.
	index int    // in workers
	seen  uint32 // moves at the watchdog's last tick
	spare bool   // it has not looked for a task yet

	events [maxEvents]unix.EpollEvent // owned by the worker
}

// task is a socket that is to be read, or written.
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
		// A queue that is never empty must not grow without end.
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

// New returns a Socket for nc, of the best kind for its type. The Socket owns nc from then on.
func (p *Poller) New(nc net.Conn, h Handler) Socket {
	// Only these types: a type that wraps one may read and write other bytes.
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if s, err := p.adopt(nc, h); err == nil {
			return s
		}
		// No descriptor is left for the set or the duplicate. A stream needs none.
	}
	control(nc, limitUnsent)
	return newStream(nc, h, &p.streams)
}

// add adds a socket to the set. Until the socket is started, events only set bits of its state.
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

// forget removes a socket from the table, before its descriptor is closed.
func (p *Poller) forget(s *sock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table[s.fd] = nil
}

// done notes that nothing of a socket runs any more.
func (p *Poller) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets--
	if p.sockets > 0 {
		return
	}
	if p.polling && !p.interrupted {
		p.interrupted = true
		p.set.interrupt(true)
	}
	p.wakeHaltLocked()
}

// Halt waits until every socket has ended and every Done has returned, and for all goroutines. It leaves no descriptor.
func (p *Poller) Halt() {
	p.mu.Lock()
	if p.halting == nil {
		p.halting = sync.NewCond(&p.mu)
	}
	for p.sockets > 0 || len(p.workers) > 0 || p.watchdog.runs && !p.watchdog.stop() {
		p.halting.Wait()
	}
	if p.set != nil {
		p.set.file.Close()
		p.set, p.interrupted = nil, false
	}
	p.mu.Unlock()
	p.streams.wait()
}

// wakeHaltLocked has Halt check again.
func (p *Poller) wakeHaltLocked() {
	if p.halting != nil {
		p.halting.Broadcast()
	}
}

// push queues a task, and starts a worker if none is free to serve it.
func (p *Poller) push(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.push(t)
	idle := 0
	if p.polling {
		idle = 1
	}
	if len(p.workers) == idle || p.watchdog.wary {
		p.startLocked()
	}
	p.watchLocked()
}

// startLocked starts a worker, unless there is one that has not looked for a task yet. A worker ends when nothing is to be
// served and another waits for events, or when the last socket has ended. Halt waits for it.
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

// next returns the next task. If there is none, it waits for events, unless another worker does. The zero task ends the
// worker.
func (p *Poller) next(w *worker) task {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.spare {
		w.spare, p.spare = false, false
	}
	for p.queue.len() == 0 || p.untilLook <= 0 {
		switch {
		case p.queue.len() > 0:
			// Sockets that are never drained keep the queue from getting empty. The events of other sockets must
			// not wait for that, nor for the runtime to schedule the poller.
			p.untilLook = p.queue.len() // for other workers that come here meanwhile
			p.lookLocked(w)
		case p.sockets > 0 && !p.polling:
			p.waitLocked(w)
		case p.sockets == 0 || p.lookLocked(w) == 0 && p.polling && p.queue.len() == 0:
			p.retireLocked(w)
			return task{}
		}
	}
	t := p.queue.pop()
	p.untilLook--
	if p.watchdog.wary && (p.queue.len() > 0 || !p.polling) {
		p.startLocked()
	}
	p.watchLocked()
	return t
}

// retireLocked removes a worker that is about to end.
func (p *Poller) retireLocked(w *worker) {
	last := len(p.workers) - 1
	p.workers[w.index] = p.workers[last]
	p.workers[w.index].index = w.index
	p.workers[last] = nil
	p.workers = p.workers[:last]
	p.wakeHaltLocked()
}

// waitLocked waits for events, and queues the sockets that are ready. mu is not held while it waits.
func (p *Poller) waitLocked(w *worker) {
	p.polling = true
	if p.interrupted {
		p.interrupted = false
		p.set.interrupt(false)
	}
	p.mu.Unlock()
	n, waited := p.set.wait(w.events[:])
	p.mu.Lock()
	p.polling = false
	p.watchdog.caughtUp = p.watchdog.caughtUp || waited
	p.noteLocked(w.events[:n])
}

// lookLocked queues the sockets that are ready, without waiting for events, and returns how many events there were. mu is
// not held during the system call, so the poller and other workers may have stopped meanwhile.
func (p *Poller) lookLocked(w *worker) int {
	p.mu.Unlock()
	n := p.set.look(w.events[:])
	p.mu.Lock()
	p.noteLocked(w.events[:n])
	return n
}

// noteLocked queues the sockets that the events say are ready.
func (p *Poller) noteLocked(events []unix.EpollEvent) {
	var gone []*sock
	for _, e := range events {
		if s := p.table[e.Fd]; s != nil && s.gen == uint32(e.Pad) && s.event(e.Events) {
			gone = append(gone, s)
		}
	}
	p.untilLook = p.queue.len()
	if gone != nil {
		p.mu.Unlock()
		for _, s := range gone {
			s.h.Hangup(io.EOF)
		}
		p.mu.Lock()
	}
}
