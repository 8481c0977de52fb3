package life_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/life"
)

func TestPace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		items   int
		timeout time.Duration // of ctx; 0: none
		took    time.Duration // at the most
		least   time.Duration
	}{
		"nothing":                     {0, 0, 0, 0},
		"a thousand a second":         {3000, 0, 3 * time.Second, 2900 * time.Millisecond},
		"enough time":                 {1000, time.Hour, time.Second, 900 * time.Millisecond},
		"faster, for ctx":             {4000, 2 * time.Second, 1500 * time.Millisecond, time.Second},
		"at once, as ctx leaves 1 ms": {4000, time.Millisecond, 10 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				start, done := time.Now(), 0
				life.Pace(ctx, make([]int, tc.items), func(int) { done++ })
				if took := time.Since(start); done != tc.items || took > tc.took || took < tc.least {
					t.Errorf("%d calls in %v, want %d in %v to %v", done, took, tc.items, tc.least, tc.took)
				}
			})
		})
	}
}

func TestPaceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := 0
		life.Pace(ctx, make([]int, 5000), func(int) {
			if done++; done == 1000 {
				cancel()
			}
		})
		if done < 1000 || done > 1020 {
			t.Errorf("got %d calls, want 1000 and the rest of a step", done)
		}
	})
}

func TestBucket(t *testing.T) {
	t.Parallel()
	var b life.Bucket
	const rate, burst = 2.0, 3
	take := func(at time.Duration, want bool) {
		t.Helper()
		if got := b.Take(at, rate, burst); got != want {
			t.Fatalf("at %v: got %v, want %v", at, got, want)
		}
	}
	begin := time.Hour
	for range burst {
		take(begin, true)
	}
	take(begin, false)
	take(begin+400*time.Millisecond, false)
	take(begin+500*time.Millisecond, true) // a token has come back
	take(begin+501*time.Millisecond, false)
	for range burst { // no more than the burst come back
		take(begin+time.Hour, true)
	}
	take(begin+time.Hour, false)
}
