// Package soak_test runs thousands of real connections through random good and bad behaviour, with faults injected
// under the server. A model checks the fate of every message. make soak runs it for SOAKTIME.
//
// With the build tag hailfault system calls on the server's own sockets fail too, and buffers are counted.
package soak_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/poll"
)

var (
	length = flag.Duration("soak", 0, "how long to soak; 0: for 5 s from a fixed seed")
	seed   = flag.Uint64("seed", 0, "the first round's seed; 0: random")
	rounds = flag.Int("rounds", 0, "how many rounds to play; 0: as many as there is time for")
	conns  = flag.Int("conns", 200, "connections of a round")
	atOnce = flag.Int("atonce", 60, "of them, those that are busy at a time")
)

func TestMain(m *testing.M) {
	flag.Parse()
	hailtest.Main(m)
}

// TestSoak is not parallel: it counts the goroutines of the process.
func TestSoak(t *testing.T) {
	first := *seed
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	if *length == 0 && *rounds == 0 {
		during := 5 * time.Second
		if testing.Short() {
			during = time.Second
		}
		soak(t, 2, during)
		return
	}
	soak(t, first, *length)
}

// soak plays rounds until the time is over. A round's seed is one more than that of the round before.
func soak(t *testing.T, seed uint64, during time.Duration) {
	t.Helper()
	warmUp()
	start, last := time.Now(), time.Now()
	sum := result{}
	n := 0
	for ; n == 0 || n < *rounds || *rounds == 0 && time.Since(start) < during; n++ {
		again := fmt.Sprintf("go test"+race+" -tags hailfault ./test/soak -seed %d -rounds 1 -conns %d -atonce %d", seed+uint64(n), *conns, *atOnce)
		watchdog := time.AfterFunc(20*patience, func() {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			panic("the round does not end; again with: " + again)
		})
		if *length > 0 || *rounds > 0 {
			fmt.Fprintf(os.Stderr, "round %d, seed %d\n", n+1, seed+uint64(n)) // for a process that ends within the round
		}
		res := play(seed+uint64(n), *conns, *atOnce)
		watchdog.Stop()
		if len(res.wrong) > 0 {
			for i, wrong := range res.wrong {
				if i == 20 {
					t.Errorf("... and %d more", len(res.wrong)-i)
					break
				}
				t.Error(wrong)
			}
			t.Fatalf("seed %d, %s, GOMAXPROCS=%d; again with: %s", seed+uint64(n), res.kind, runtime.GOMAXPROCS(0), again)
		}
		sum.add(res)
		if *length > 0 && time.Since(last) > 5*time.Second {
			last = time.Now()
			fmt.Fprintf(os.Stderr, "%6s  round %d: %s\n", time.Since(start).Round(time.Second), n+1, sum)
		}
	}
	t.Logf("%d rounds from seed %d in %v, faults in system calls: %v\n%s", n, seed, time.Since(start).Round(time.Millisecond), poll.Injects, sum)
}

// warmUp makes the runtime open the descriptors that it keeps.
func warmUp() {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
	}
}

func (sum *result) add(r result) {
	sum.conns += r.conns
	sum.faults += r.faults
	sum.onTime += r.onTime
	sum.stats.Accepted += r.stats.Accepted
	sum.stats.Refused += r.stats.Refused
	sum.stats.Received += r.stats.Received
	sum.stats.Sent += r.stats.Sent
	sum.stats.Published += r.stats.Published
	sum.stats.Undelivered += r.stats.Undelivered
	sum.stats.Panics += r.stats.Panics
	for cause, n := range r.stats.Closed {
		if sum.stats.Closed == nil {
			sum.stats.Closed = r.stats.Closed
			break
		}
		sum.stats.Closed[cause] += n
	}
}

func (sum result) String() string {
	st := sum.stats
	return fmt.Sprintf("%d clients, %d connections, %d refused, %d messages in, %d out, %d published, %d undelivered and told, %d panics, %d faults, %d on time, ends: %v",
		sum.conns, st.Accepted, st.Refused, st.Received, st.Sent, st.Published, st.Undelivered, st.Panics, sum.faults, sum.onTime, st.Closed)
}
