// Package kit has the helpers that the tests in test/ share beyond package hailtest: waits with a limit, checks of how connections end,
// transports, frames made by hand, the log, and a client without a goroutine.
package kit

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/hail"
)

// Ample is a timeout for an event that comes at once, even on a slow machine.
const Ample = 30 * time.Second

// Await returns the next value of ch, and fails the test if none comes within d.
func Await[T any](t *testing.T, what string, ch <-chan T, d time.Duration) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("%s: got nothing within %v", what, d)
		panic("unreachable")
	}
}

// Until waits for a condition that has no signal of its own.
func Until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(Ample)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %v", what, Ample)
		}
	}
}

// Long skips a test if tests are to be short: it waits for timeouts on real sockets, for seconds.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for timeouts on real sockets")
	}
}

// Often returns n, or a part of it if tests are to be short.
func Often(n int) int {
	if testing.Short() {
		return n / 20
	}
	return n
}

// CheckDelay checks that a timeout that began at start has ended now: never early, and late by two
// ticks of the sweep at most. The shortest timeout has eight ticks.
func CheckDelay(t *testing.T, what string, start time.Time, timeout time.Duration) {
	t.Helper()
	if took := time.Since(start); took < timeout || took > timeout+min(timeout/4, time.Second)+10*time.Millisecond {
		t.Errorf("%s: took %v, want %v or little more", what, took, timeout)
	}
}

// CheckClosed checks a CloseInfo's code and cause. One that is not clean has an error.
func CheckClosed(t *testing.T, got hail.CloseInfo, code hail.StatusCode, cause hail.Cause, clean bool) {
	t.Helper()
	if got.Code != code || got.Cause != cause || (got.Err == nil) != clean {
		t.Errorf("CloseInfo: got %d, %v, error %v; want %d, %v, an error: %v", got.Code, got.Cause, got.Err, code, cause, !clean)
	}
}

// CheckNames checks that an error's text has all of the words.
func CheckNames(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error: got %v, want it to name %q", err, word)
		}
	}
}

// Heap returns the bytes that are in use when collections free no more. Memory of pools and finalizers needs several.
func Heap() uint64 {
	least := uint64(math.MaxUint64)
	for {
		ran := make(chan struct{})
		runtime.SetFinalizer(new([16]byte), func(*[16]byte) { close(ran) })
		runtime.GC()
		<-ran // and the finalizers that were found with it
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc+64<<10 > least {
			return m.HeapAlloc
		}
		least = m.HeapAlloc
	}
}

// TotalAlloc returns the bytes that have been allocated so far.
func TotalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
