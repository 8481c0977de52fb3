package hailtest

// The leak check: goroutines of a test, or of a package's tests, that still run after it.

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"time"
)

// leakTimeout is how long goroutines may still run after a test: closing a connection does not wait for
// the goroutines of the other end.
const leakTimeout = 5 * time.Second

// leakLabel is the profiler label that distinguishes a test's goroutines from those of parallel tests.
const leakLabel = "hailtest"

// Main runs the package's tests and exits. If they passed but goroutines are still running 5 seconds
// later, it prints their stacks and exits with 1. It closes http.DefaultTransport's idle connections
// first. m is a *testing.M:
//
//	func TestMain(m *testing.M) { hailtest.Main(m) }
func Main(m interface{ Run() int }) {
	code := m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		if left := waitForNone(func(g string) bool { return !ownOrRuntime(g) }); left != "" {
			fmt.Fprintf(os.Stderr, "hailtest: goroutines are still running after the tests:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// NoLeaks fails the test if goroutines that it started are still running 5 seconds after its end, and
// prints their stacks. Call it first, on the test's goroutine.
//
// Tests that run in parallel do not disturb it: it identifies the test's goroutines by a label of
// [runtime/pprof], which a goroutine inherits from the one that started it. It misses goroutines that set
// labels of their own.
func NoLeaks(tb TB) {
	tb.Helper()
	id := rand.Text()
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(leakLabel, id)))
	// Cleanups run last in, first out: this one runs after all others.
	tb.Cleanup(func() {
		pprof.SetGoroutineLabels(context.Background())
		label := fmt.Sprintf("%q:%q", leakLabel, id)
		if left := waitForNone(func(g string) bool { return strings.Contains(g, label) }); left != "" {
			tb.Errorf("hailtest: goroutines of the test are still running after it:\n%s", left)
		}
	})
}

// waitForNone waits until no goroutine matches, and returns the stacks of those that still match after
// the timeout.
func waitForNone(match func(string) bool) string {
	limit := time.Now().Add(leakTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		var left []string
		for _, g := range goroutines() {
			if match(g) {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(limit) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(pause)
	}
}

// goroutines returns the stacks of all goroutines with their labels. Equal ones are one entry that begins
// with their number.
func goroutines() []string {
	var b bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&b, 1)
	all := strings.Split(strings.TrimSpace(b.String()), "\n\n")
	// The first has the profile's title before it.
	_, all[0], _ = strings.Cut(all[0], "\n")
	return all
}

// ownOrRuntime reports whether a goroutine is the checking one, or was started by the process and not by
// a test.
func ownOrRuntime(g string) bool {
	return strings.Contains(g, "hailtest.goroutines+") || strings.Contains(g, "os/signal.loop+")
}
