package fanout_test

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/hail/internal/fanout"
)

// reader is a target that reads everything at once.
type reader struct {
	mu    sync.Mutex
	peeks int
	bytes int
}

func (d *reader) Wake(c *fanout.Cursor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		p, err := c.Peek(math.MaxUint64)
		if err != nil {
			panic(err)
		}
		if p == nil {
			return
		}
		c.Skip(len(p))
		d.peeks++
		d.bytes += len(p)
	}
}

var message = make([]byte, 128)

func newHub(b *testing.B, cfg fanout.Config) *fanout.Hub {
	h := fanout.New(cfg)
	b.Cleanup(h.Close)
	return h
}

// BenchmarkPublish publishes to one of many topics, or to each of them in turn. Each has a subscriber that reads
// everything.
func BenchmarkPublish(b *testing.B) {
	for _, topics := range []int{10, 100_000} {
		h := fanout.New(fanout.Config{MaxBytes: 1 << 20})
		names := make([]string, topics)
		for i := range names {
			names[i] = fmt.Sprint("topic-", i)
			h.Subscribe(names[i], 1, false, new(reader))
		}
		for _, used := range []int{1, topics} {
			b.Run(fmt.Sprint(used, "of", topics), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if i == used {
						i = 0
					}
					if _, err := h.Publish(names[i], text, message, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		h.Close()
	}
}

// BenchmarkPublishNobody publishes to a topic without subscribers, beside many others.
func BenchmarkPublishNobody(b *testing.B) {
	h := newHub(b, fanout.Config{})
	for i := range 1000 {
		h.Subscribe(fmt.Sprint("topic-", i), 1, false, new(reader))
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Publish("nobody", text, message, 0)
	}
}

// BenchmarkPublishParallel publishes on all processors, each to a topic of its own.
func BenchmarkPublishParallel(b *testing.B) {
	h := newHub(b, fanout.Config{MaxBytes: 1 << 20})
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		name := fmt.Sprint("topic-", next.Add(1))
		h.Subscribe(name, 1, false, new(reader))
		for pb.Next() {
			h.Publish(name, text, message, 0)
		}
	})
}

// BenchmarkBurst publishes 500 messages to 1000 subscribers and waits until they have all of them. peeks/sub is how often
// each read something, which stands for a write.
func BenchmarkBurst(b *testing.B) {
	const messages, subscribers = 500, 1000
	h := newHub(b, fanout.Config{MaxBytes: 1 << 20})
	var left sync.WaitGroup
	all := make([]*countdown, subscribers)
	for i := range all {
		all[i] = &countdown{left: &left}
		h.Subscribe("room", uint64(i+1), false, all[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		left.Add(subscribers)
		for _, c := range all {
			c.want = messages * (128 + 4)
		}
		for range messages {
			h.Publish("room", text, message, 0)
		}
		left.Wait()
	}
	peeks := 0
	for _, c := range all {
		peeks += c.peeks
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/messages/subscribers, "ns/delivery")
	b.ReportMetric(float64(peeks)/float64(b.N)/subscribers, "peeks/sub")
}

// countdown is a reader that says when it has read everything.
type countdown struct {
	reader
	want int
	left *sync.WaitGroup
}

func (c *countdown) Wake(cursor *fanout.Cursor) {
	c.reader.Wake(cursor)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes == c.want {
		c.bytes = 0
		c.left.Done()
	}
}

// BenchmarkMemory reports the memory of a subscription, with three for each topic.
func BenchmarkMemory(b *testing.B) {
	const topics, each = 100_000, 3
	for b.Loop() {
		target := &counted{}
		names := make([]string, topics)
		for i := range names {
			names[i] = fmt.Sprint("topic-", i)
		}
		all := make([]*fanout.Cursor, 0, topics*each)
		before := heap()
		h := fanout.New(fanout.Config{MaxBytes: 1 << 20})
		for i := range topics * each {
			all = append(all, h.Subscribe(names[i%topics], 1, false, target))
		}
		subscribed := heap()
		target.left.Add(topics * each)
		for _, name := range names {
			h.Publish(name, text, message, 0)
		}
		target.left.Wait()
		h.Close()
		published := heap()
		b.ReportMetric(float64(subscribed-before)/topics/each, "B/sub")
		b.ReportMetric(float64(published-before)/topics/each, "B/sub-after-publish")
		for _, c := range all {
			c.Drop()
		}
		runtime.KeepAlive(names)
	}
}

// counted is a reader that counts its wakes.
type counted struct {
	reader
	left sync.WaitGroup
}

func (c *counted) Wake(cursor *fanout.Cursor) {
	c.reader.Wake(cursor)
	c.left.Done()
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
