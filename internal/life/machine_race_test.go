package life_test

// One machine, and many goroutines.

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/hail/internal/life"
)

// crowd is many goroutines that tell one machine of events.
type crowd struct {
	t       *testing.T
	machine life.Machine
	busy    atomic.Bool // a callback runs
	decided atomic.Bool // somebody was told to decide
	count   [len(ledger{}.count)]atomic.Int32
}

// enter counts what is to be done.
func (c *crowd) enter(do life.Do) {
	for i := range c.count {
		if do.Has(1 << i) {
			c.count[i].Add(1)
		}
	}
	if do.Has(life.Decide) {
		c.decided.Store(true)
	}
}

// tell tells the machine of an event, and runs the callback that begins by that.
func (c *crowd) tell(e life.Event, r *rand.Rand) {
	switch e {
	case life.Accept, life.Return, life.Fail, life.GiveUp, life.TransportEnded:
		return // these are for who runs the callback, and for the end
	}
	late := c.decided.Load()
	var do life.Do
	if e == life.Begin && r.IntN(2) == 0 {
		if c.machine.Begin() {
			do = life.Run
		}
	} else {
		_, do = c.machine.Step(e)
	}
	c.enter(do)
	if do&(life.Run|life.Report) == 0 {
		return
	}
	if do.Has(life.Run) && late {
		c.t.Errorf("%v: a callback begins after it was decided why the connection ends", e)
	}
	if !c.busy.CompareAndSwap(false, true) {
		c.t.Errorf("%v: a callback begins while another runs", e)
	}
	c.leave(do.Has(life.Run), r)
}

// leave ends a callback, or OnError.
func (c *crowd) leave(callback bool, r *rand.Rand) {
	success := life.Return
	if callback && !c.machine.State().Accepted() {
		success = life.Accept
	}
	runtime.Gosched() // the others have their chance meanwhile
	switch how := r.IntN(32); {
	case callback && how == 0:
		_, do := c.machine.Step(life.Fail)
		c.enter(do)
		if !do.Has(life.Report) {
			c.t.Errorf("Fail: got %q to do, want a report", do)
		}
		success = life.Return
	case callback && how == 1:
		_, do := c.machine.Step(life.GiveUp)
		c.enter(do)
		success = life.Return
	}
	if !c.busy.Swap(false) {
		c.t.Errorf("%v: nothing runs", success)
	}
	if success == life.Return && r.IntN(2) == 0 && c.machine.Leave() {
		return
	}
	_, do := c.machine.Step(success)
	c.enter(do)
}

// TestMachineAmongGoroutines has many goroutines tell one machine of everything at once. Whoever begins a callback returns from it.
func TestMachineAmongGoroutines(t *testing.T) {
	t.Parallel()
	const lives, goroutines, steps = 200, 8, 40
	begun := 0
	for seed := range uint64(lives) {
		c := &crowd{t: t}
		var wg sync.WaitGroup
		for i := range uint64(goroutines) {
			wg.Go(func() { // ends after its steps; waited for below
				r := rand.New(rand.NewPCG(seed, i))
				for range steps {
					e := life.Begin
					if r.IntN(64) == 0 {
						e = life.Event(r.IntN(int(life.Events)))
					}
					c.tell(e, r)
				}
			})
		}
		wg.Wait()
		if call := c.machine.State().Call(); call != life.None {
			t.Errorf("seed %d: all callbacks have returned, and the call is %v", seed, call)
		}
		_, do := c.machine.Step(life.TransportEnded)
		c.enter(do)
		var l ledger
		for i := range c.count {
			l.count[i] = int(c.count[i].Load())
		}
		if err := l.end(c.machine.State().Called()); err != nil {
			t.Fatalf("seed %d, in %v: %v", seed, c.machine.State(), err)
		}
		begun += l.of(life.Run)
	}
	if least := lives / 2; begun < least {
		t.Errorf("%d callbacks have begun in %d lives, want %d at least", begun, lives, least)
	}
}
