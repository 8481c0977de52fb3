package life_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"example.com/hail/internal/life"
)

type member struct{ place life.Place }

func (m *member) Place() *life.Place { return &m.place }

// TestRegistry adds and removes members at random: All yields those that are in, once each.
func TestRegistry(t *testing.T) {
	t.Parallel()
	var r life.Registry[*member]
	draw := rand.New(rand.NewPCG(1, 2))
	var in []*member
	for step := range 3000 {
		if n := len(in); n == 0 || draw.IntN(2000) > step && draw.IntN(3) > 0 {
			m := new(member)
			r.Number(m)
			if got := m.place.Number(); got == 0 || slices.ContainsFunc(in, func(o *member) bool { return o.place.Number() == got }) {
				t.Fatalf("step %d: got the number %d, want one that no other has", step, got)
			}
			r.Add(m)
			in = append(in, m)
		} else {
			i := draw.IntN(n)
			r.Remove(in[i])
			in = slices.Delete(in, i, i+1)
		}
		if step%100 > 0 {
			continue
		}
		got := slices.Collect(r.All())
		byNumber := func(a, b *member) int { return int(a.place.Number()) - int(b.place.Number()) }
		slices.SortFunc(got, byNumber)
		slices.SortFunc(in, byNumber)
		if !slices.Equal(got, in) {
			t.Fatalf("step %d: got %d members, want %d, or others", step, len(got), len(in))
		}
	}
}

// TestRegistryHoldsNoLock removes and adds members within the loop.
func TestRegistryHoldsNoLock(t *testing.T) {
	t.Parallel()
	var r life.Registry[*member]
	for range 2 * life.Parts {
		m := new(member)
		r.Number(m)
		r.Add(m)
	}
	seen := 0
	for m := range r.All() {
		r.Remove(m)
		seen++
	}
	if left := len(slices.Collect(r.All())); seen != 2*life.Parts || left != 0 {
		t.Errorf("got %d members, and %d left, want %d and 0", seen, left, 2*life.Parts)
	}
}

// TestRegistryBesideItself has many goroutines come, look and go.
func TestRegistryBesideItself(t *testing.T) {
	t.Parallel()
	var r life.Registry[*member]
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				m := new(member)
				r.Number(m)
				r.Add(m)
				if !slices.Contains(slices.Collect(r.All()), m) {
					t.Error("a member that is in is not among All")
				}
				r.Remove(m)
			}
		})
	}
	all.Wait()
	if left := slices.Collect(r.All()); len(left) > 0 {
		t.Errorf("%d members are left, want none", len(left))
	}
}
