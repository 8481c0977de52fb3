package link_test

// The arithmetic of the order between own and published frames, against one number for each own byte.

import (
	"math"
	"math/rand/v2"
	"testing"

	"example.com/hail/internal/link"
)

// orderModel knows each own byte.
type orderModel struct {
	o       *link.Order
	r       *rand.Rand
	uptos   []uint64 // of each own byte that was ever queued
	parts   []int    // before these bytes a source was added
	written int
	free    int
	latest  uint64 // number of a message
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		waiting := r.IntN(3) * r.IntN(20)
		m := &orderModel{o: link.NewOrder(waiting), r: r, uptos: make([]uint64, waiting), free: waiting}
		m.join(t, seed)
		for range 100 {
			m.step(t, seed)
			if err := m.o.Check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got, want := m.o.Ready(), m.free-m.written; got != want {
				t.Fatalf("seed %d: %d bytes may be written, want %d", seed, got, want)
			}
		}
	}
}

func (m *orderModel) step(t *testing.T, seed uint64) {
	switch m.r.IntN(8) {
	case 0, 1:
		n := 1 + m.r.IntN(10)
		for range n {
			m.uptos = append(m.uptos, m.latest)
		}
		m.o.Add(n, m.latest)
	case 2:
		m.latest += uint64(m.r.IntN(3))
	case 3:
		m.join(t, seed)
	case 4, 5:
		n := m.r.IntN(m.free - m.written + 1)
		m.written += n
		m.o.Wrote(n)
	case 6:
		m.release(t, seed)
	case 7:
		if m.r.IntN(10) == 0 {
			m.cut()
		}
	}
}

// join adds a source, which waits for all that is queued.
func (m *orderModel) join(t *testing.T, seed uint64) {
	if got, want := m.o.Join(), int64(len(m.uptos)); got != want {
		t.Fatalf("seed %d: a source waits for byte %d, want %d", seed, got, want)
	}
	m.parts = append(m.parts, len(m.uptos))
}

// release lets bytes go that follow the same messages, up to the next place at which a source was added.
func (m *orderModel) release(t *testing.T, seed uint64) {
	want := uint64(math.MaxUint64)
	more := m.free < len(m.uptos)
	if more {
		want = m.uptos[m.free]
	}
	if got := m.o.Upto(); got != want {
		t.Fatalf("seed %d: messages up to %d go first, want %d", seed, got, want)
	}
	if got := m.o.Release(); got != more {
		t.Fatalf("seed %d: something is released: %v, want %v", seed, got, more)
	}
	for first := m.free; m.free < len(m.uptos) && m.uptos[m.free] == want && (m.free == first || !m.parted()); {
		m.free++
	}
}

// parted reports whether a source was added before the next byte.
func (m *orderModel) parted() bool {
	for _, at := range m.parts {
		if at == m.free {
			return true
		}
	}
	return false
}

// cut removes some of the last bytes.
func (m *orderModel) cut() {
	n := m.r.IntN(len(m.uptos) - m.written + 1)
	m.o.Cut(n)
	m.uptos = m.uptos[:len(m.uptos)-n]
	m.free = min(m.free, len(m.uptos))
	for i, at := range m.parts {
		m.parts[i] = min(at, len(m.uptos))
	}
}
