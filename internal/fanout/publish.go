package fanout

// What a publisher does behind its message: the topic is queued, and those who wake its subscribers are helped
// where they do not keep up. Subscribers that take all there is whenever they are woken must not
// fall off because somebody publishes faster than they are woken.

import "time"

const (
	// Publishers help, and wait, when this part of a log's bounds came since all were woken.
	helpPart = 4
	waitPart = 2
	// Without bounds, or with wide ones: a publisher that is far ahead only costs memory.
	mostBytes = 1 << 20
	// The longest wait. The others are then at their last subscribers, and none of them waits
	// for anything.
	helpWait = 10 * time.Millisecond
	// One that runs, one for what came since, and one more where others began that.
	helpRounds = 3
)

// lead is how far publishers are ahead of those who wake.
type lead struct {
	messages uint64
	bytes    int
}

// leadOf returns a part of what a log may hold.
func leadOf(cfg Config, part int) lead {
	d := lead{1 << 62, mostBytes / part}
	if cfg.MaxBytes > 0 {
		d.bytes = min(d.bytes, cfg.MaxBytes/part)
	}
	if cfg.MaxMessages > 0 {
		d.messages = uint64(max(1, cfg.MaxMessages/part))
	}
	return d
}

// aheadLocked reports whether publishers are so far ahead.
func (t *topic) aheadLocked(d lead) bool {
	l := t.log
	return l != nil && (t.next()-l.woken >= d.messages || l.total-l.wokenTotal >= d.bytes)
}

// todo is what a publisher does when it has unlocked the topic.
type todo struct {
	enqueue, help, age bool
}

// publishedLocked takes note of a message.
func (t *topic) publishedLocked() (d todo) {
	if t.history && !t.emptyLocked() && !t.aging {
		t.aging, d.age = true, true
	}
	if len(t.cursors) > 0 {
		t.dirty = true
		d.enqueue = t.markLocked()
		d.help = t.aheadLocked(t.hub.help)
	}
	return d
}

func (d todo) do(t *topic) {
	if d.age {
		t.hub.ages.add(t, t.hub.now()+t.hub.cfg.HistoryAge)
	}
	if d.enqueue {
		t.hub.enqueue(t)
	}
	if d.help {
		t.help()
	}
}

// help wakes subscribers as a worker does, and waits for others who do, while the publishers are too far ahead.
func (t *topic) help() {
	if !t.hub.enter() {
		return
	}
	defer t.hub.leave()
	var timeout <-chan time.Time
	for range helpRounds {
		worked := t.wake(false)
		ended, wait := t.roundEnd()
		switch {
		case !wait:
			return
		case ended == nil && !worked:
			return // there is nobody to be woken
		case ended == nil:
			continue
		case timeout == nil:
			timer := time.NewTimer(helpWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-ended:
		case <-timeout:
			return
		}
	}
}

// roundEnd returns what is closed at the end of the topic's round, nil where there is none, and whether
// publishers are so far ahead that they have to wait for it.
func (t *topic) roundEnd() (ended <-chan struct{}, wait bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.aheadLocked(t.hub.wait) {
		return nil, false
	}
	r := t.round
	if r == nil {
		return nil, true
	}
	if r.ended == nil {
		r.ended = make(chan struct{})
	}
	return r.ended, true
}
