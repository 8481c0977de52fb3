package link_test

// Pings and pongs between own and published frames.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// TestControlBetweenSources pings after each number of bytes of own and published frames that alternate.
func TestControlBetweenSources(t *testing.T) {
	t.Parallel()
	script := []string{"own 1", "pub 1", "pub 2", "own 2", "own 3", "pub 3", "own 4", "pub 4"}
	var ends []int
	total := 0
	for _, text := range script {
		total += wire.FrameSize(len(text))
		ends = append(ends, total)
	}
	for k := range total {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				o, f, st := stepwise(t, b.config())
				if _, err := b.join(o, "a", 0); err != nil {
					t.Fatal(err)
				}
				for _, text := range script {
					if strings.HasPrefix(text, "own") {
						o.text(t, text)
					} else {
						b.publish("a", text)
					}
					synctest.Wait()
				}
				st.grant(k, 1)
				o.Ping()
				o.Ping()
				st.finish(1)
				o.Close(link.CloseFrame{Code: 1000})
				st.finish(100)
				all := f.until()
				if got := texts(all); !slices.Equal(got, script) {
					t.Fatalf("got %q, want %q", got, script)
				}
				// The write that was on its way wrote one byte more.
				want, _ := slices.BinarySearch(ends, k+1)
				at := slices.Index(all, got{wire.Fin | wire.Ping, ""})
				if at != want+1 || all[at+1] != all[at] {
					t.Errorf("the pings come after %d frames, want them after %d: %v", at, want+1, all)
				}
			})
		})
	}
}

// TestControlAroundTheFirstSource has a pong on its way when the link begins to listen, one after it, and a longer one after
// each number of bytes.
func TestControlAroundTheFirstSource(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 3, 40}
	for k := range 30 {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				b.most = 1
				o, f, st := stepwise(t, b.config())
				pinged(f, sizes[0])
				if _, err := b.join(o, "a", 0); err != nil {
					t.Fatal(err)
				}
				pinged(f, sizes[1])
				b.publish("a", "pub 1")
				b.publish("a", "pub 2")
				o.text(t, "own 1")
				st.grant(k, 1)
				pinged(f, sizes[2])
				st.finish(1)
				o.Close(link.CloseFrame{Code: 1000})
				st.finish(100)
				all := f.until()
				if got, want := texts(all), []string{"pub 1", "pub 2", "own 1"}; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				for i, size := range sizes {
					if pong := (got{wire.Fin | wire.Pong, string(make([]byte, size))}); !slices.Contains(all, pong) {
						t.Errorf("pong %d is missing: got %v", i, all)
					}
				}
			})
		})
	}
}

// TestPingsDoNotStarveSources has a ping arrive during each write. Published frames go out between the pongs, and so do the
// frames that are queued after them.
func TestPingsDoNotStarveSources(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own data=%v", own), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBoard()
				o, f, st := stepwise(t, b.config())
				if _, err := b.join(o, "a", 0); err != nil {
					t.Fatal(err)
				}
				pinged(f, 10)
				want := []string{"pub"}
				b.publish("a", "pub")
				if own {
					o.text(t, "own")
					want = append(want, "own")
				}
				const rounds = 50
				for range rounds {
					pinged(f, 10)
					st.grant(1<<10, 1<<10)
				}
				o.Close(link.CloseFrame{Code: 1000})
				st.finish(1 << 10)
				all := f.until()
				if got := texts(all); !slices.Equal(got, want) {
					t.Fatalf("got %q, want %q", got, want)
				}
				last := newGot(wire.Header{First: wire.Fin | wire.Text}, []byte(want[len(want)-1]))
				if at := slices.Index(all, last); at > 3*len(want) {
					t.Errorf("%v comes after %d frames of %d rounds of pings, want it after %d at the most", last, at, rounds, 3*len(want))
				}
			})
		})
	}
}

// TestPingsTakeNoMemory has a ping arrive during each write. Own and published frames alternate.
func TestPingsTakeNoMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		o, f, st := stepwise(t, b.config())
		if _, err := b.join(o, "a", 0); err != nil {
			t.Fatal(err)
		}
		const count, size = 100, 120
		pinged(f, size)
		queued := 0
		for range count {
			b.publish("a", "pub")
			o.text(t, "own")
			queued += wire.FrameSize(len("own"))
		}
		largest := 0
		for range 4 * count {
			pinged(f, size)
			st.grant(1<<10, 1<<10)
			largest = max(largest, o.Writing())
		}
		if most := queued + 2*wire.FrameSize(size); largest > most {
			t.Errorf("%d bytes are held for %d of own frames, want %d at the most", largest, queued, most)
		}
		o.Close(link.CloseFrame{Code: 1000})
		st.finish(1 << 10)
		if got := texts(f.until()); len(got) != 2*count {
			t.Errorf("got %d messages, want %d", len(got), 2*count)
		}
	})
}
