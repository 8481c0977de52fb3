package poll

// The watchdog of a Poller: it looks at the workers each millisecond while something is served.

import (
	"runtime"
	"time"
)

const (
	watchTick = time.Millisecond
	// So many ticks without a rest, and a worker more is worth its wake-ups.
	busyTicks = 4
	// What the watchdog has seen is forgotten by this part each tick.
	fade = 8
)

// watchdog is a Poller's, guarded by its mu.
type watchdog struct {
	timer  *time.Timer
	runs   bool
	rested bool // since the last tick all was done at some time
	busy   int  // ticks since that was so

	// Callbacks that block are so common that no worker serves before another can take its place.
	wary           bool
	moved, blocked int // what was begun, and who did not move, over the last ticks; the latest weigh most
}

// stop keeps the next tick from coming, unless it is about to.
func (d *watchdog) stop() bool {
	d.runs = !d.timer.Stop()
	return !d.runs
}

// watchLocked has the watchdog run while something is served.
func (p *Poller) watchLocked() {
	d := &p.dog
	if d.runs {
		return
	}
	d.runs, d.busy, d.rested = true, 0, false
	if d.timer == nil {
		d.timer = time.AfterFunc(watchTick, p.watch)
	} else {
		d.timer.Reset(watchTick)
	}
}

// watch is the watchdog's tick. It starts workers in place of those that a callback blocks,
// and one more where those that there are cannot keep up.
func (p *Poller) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.dog
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
	if d.busy++; d.rested {
		d.busy = 0
	}
	d.rested = false
	if moving == 0 || d.busy >= busyTicks && moving < runtime.GOMAXPROCS(0) {
		p.startLocked()
	}
	d.timer.Reset(watchTick)
}
