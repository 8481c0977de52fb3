package poll

// The watchdog of a Poller: it checks the workers each millisecond while something is served.

import (
	"runtime"
	"time"
)

const (
	watchTick = time.Millisecond
	// After so many ticks with work left, one more worker is worth its wake-ups.
	busyTicks = 4
	// The averages moved and blocked lose this fraction each tick.
	fade = 8
)

// watchdog is a part of a Poller, guarded by its mu.
type watchdog struct {
	timer    *time.Timer
	runs     bool
	caughtUp bool // nothing was left to be served at some time since the last tick
	busy     int  // ticks since the last that was caught up

	// Callbacks block so often that a worker only serves a socket if another can take its place.
	wary           bool
	moved, blocked int // decaying sums of tasks that were begun, and of workers that did not move
}

// stop prevents the next tick, and reports false if it is too late for that.
func (d *watchdog) stop() bool {
	d.runs = !d.timer.Stop()
	return !d.runs
}

// watchLocked starts the watchdog, unless it runs. It stops by itself when nothing is served.
func (p *Poller) watchLocked() {
	d := &p.watchdog
	if d.runs {
		return
	}
	d.runs, d.busy, d.caughtUp = true, 0, false
	if d.timer == nil {
		d.timer = time.AfterFunc(watchTick, p.watch)
	} else {
		d.timer.Reset(watchTick)
	}
}

// watch is the watchdog's tick. It starts a worker if callbacks block all that there are, and one more if they do not keep
// up.
func (p *Poller) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.watchdog
	moved, moving := 0, 0
	for _, w := range p.workers {
		n := w.moves.Load()
		if n != w.seen {
			moved += int(n - w.seen)
			moving++
		}
		w.seen = n
	}
	stuck := len(p.workers) - moving
	if p.polling && stuck > 0 {
		stuck--
	}
	if moving == 0 && p.queue.len() == 0 && (p.polling || len(p.workers) == 0) {
		// Nothing more can go wrong until the next task, which starts the watchdog again.
		d.runs = false
		p.wakeHaltLocked()
		return
	}
	d.moved += moved - d.moved/fade
	d.blocked += fade*stuck - d.blocked/fade
	d.wary = d.blocked >= 2*d.moved
	if d.busy++; d.caughtUp {
		d.busy = 0
	}
	d.caughtUp = false
	if moving == 0 || d.busy >= busyTicks && moving < runtime.GOMAXPROCS(0) {
		p.startLocked()
	}
	d.timer.Reset(watchTick)
}
