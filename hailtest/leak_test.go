package hailtest_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// leakEnv makes TestMain leak a goroutine.
const leakEnv = "HAILTEST_LEAK"

func TestMainFailsOnLeak(t *testing.T) {
	t.Parallel()
	out, err := runLeak()
	if err == nil {
		t.Error("got success from tests that leak, want a failure")
	}
	if want := "hailtest_test.TestMain.func1"; !strings.Contains(string(out), want) {
		t.Errorf("got output %s\nwant it to contain %s", out, want)
	}
}

// runLeak runs some of these tests in a process that leaks. It runs once, because Main waits for its timeout.
var runLeak = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestFrameBytes$")
	cmd.Env = append(os.Environ(), leakEnv+"=1")
	return cmd.CombinedOutput()
})

func TestNoLeaks(t *testing.T) {
	t.Parallel()
	// In bubbles, so the wait for a goroutine that does not end takes no time.
	t.Run("leak", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			got := failures(func(tb hailtest.TB) {
				hailtest.NoLeaks(tb)
				go func() { <-end }()
			})
			if len(got) != 1 || !strings.Contains(got[0], "hailtest_test.TestNoLeaks") {
				t.Errorf("got failures %q, want one with the goroutine's function", got)
			}
		})
	})
	t.Run("goroutine of a goroutine", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			got := failures(func(tb hailtest.TB) {
				hailtest.NoLeaks(tb)
				go func() { go func() { <-end }() }()
				synctest.Wait()
			})
			if len(got) != 1 {
				t.Errorf("got failures %q, want one", got)
			}
		})
	})
	t.Run("goroutines of others", func(t *testing.T) {
		t.Parallel()
		end := make(chan struct{})
		defer close(end)
		go func() { <-end }()
		got := failures(func(tb hailtest.TB) { hailtest.NoLeaks(tb) })
		if len(got) != 0 {
			t.Errorf("got failures %q, want none", got)
		}
	})
	t.Run("goroutine that ends late", func(t *testing.T) {
		t.Parallel()
		end := make(chan struct{})
		got := failures(func(tb hailtest.TB) {
			hailtest.NoLeaks(tb)
			go func() { <-end }()
			// Closed by a goroutine of the test as well, after its cleanups have begun.
			tb.Cleanup(func() { go close(end) })
		})
		if len(got) != 0 {
			t.Errorf("got failures %q, want none", got)
		}
	})
}

func TestPeersLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(p *hailtest.Peer){
		"open":       func(p *hailtest.Peer) {},
		"used":       func(p *hailtest.Peer) { p.Send(hail.Text("a")); p.Receive() },
		"closed":     func(p *hailtest.Peer) { p.Close(1000, "") },
		"stalled":    func(p *hailtest.Peer) { p.Stall() },
		"vanished":   func(p *hailtest.Peer) { p.Vanish() },
		"reset":      func(p *hailtest.Peer) { p.Reset() },
		"half-close": func(p *hailtest.Peer) { p.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				hailtest.NoLeaks(t)
				use(hailtest.Dial(t, echo, "/", opts...))
			})
		})
	}
}
