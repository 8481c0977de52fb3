package hostile_test

// A handshake's headers are parsed in linear time, by the thread's CPU clock.

import (
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHeadersTakeLinearTime compares the time for a header with the time for one many times as long. It uses the thread's CPU time
// and the least of a few runs, so other work of the machine counts little.
func TestHeadersTakeLinearTime(t *testing.T) {
	const (
		size, times = 16 << 10, 16
		slack       = 4                     // of times; in quadratic time the factor would be times squared
		least       = 25 * time.Millisecond // memory of more than a page or two costs more to allocate
	)
	s := parser()
	took := func(h header) time.Duration {
		r := request(t)
		r.Header[h.name] = h.values
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		best := time.Hour
		for range 5 {
			start := ownTime(t)
			s.ServeHTTP(httptest.NewRecorder(), r)
			best = min(best, ownTime(t)-start)
		}
		return best
	}
	large := longHeaders(times * size)
	for name, h := range longHeaders(size) {
		t.Run(name, func(t *testing.T) {
			small, large := took(h), took(large[name])
			if most := max(least, slack*times*small); large > most {
				t.Errorf("%d times as long: took %v, want at most %v, and %v is linear", times, large, most, times*small)
			}
		})
	}
}

// ownTime returns the thread's CPU time.
func ownTime(t *testing.T) time.Duration {
	t.Helper()
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at); err != nil {
		t.Fatal(err)
	}
	return time.Duration(at.Nano())
}
