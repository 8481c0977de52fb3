// Command bench runs hail and its peers in turn on one machine, round by round, and prints medians and ratios.
// Each server is a process of its own that tells its own CPU time; the load comes from this one, over loopback.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	cases := flag.String("cases", ".", "regular expression: the cases to run")
	names := flag.String("peers", strings.Join(peerNames(), ","), "the peers to run, in this order")
	rounds := flag.Int("rounds", 3, "rounds; each runs every case with every peer")
	span := flag.Duration("time", time.Second, "how long a case is measured in a round")
	out := flag.String("out", "", "directory to write RESULTS.md and results.svg to; none: print the table only")
	profile := flag.String("profile", "", "directory for a CPU profile of each Go server in each case")
	flag.Parse()
	chosen, err := regexp.Compile(*cases)
	if err != nil {
		log.Fatalf("-cases: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(800) // of a small heap: the machine's cores are the servers'
	run := &run{rounds: *rounds, span: *span, profile: *profile}
	for _, name := range strings.Split(*names, ",") {
		i := slices.IndexFunc(allPeers, func(p peer) bool { return p.name == name })
		if i < 0 {
			log.Fatalf("-peers: no peer %q among %s", name, strings.Join(peerNames(), ", "))
		}
		run.peers = append(run.peers, allPeers[i])
	}
	for _, c := range allCases {
		if chosen.MatchString(c.name) {
			run.cases = append(run.cases, c)
		}
	}
	if err := run.all(ctx); err != nil {
		log.Fatal(err)
	}
	results := run.markdown(strings.Join(os.Args[1:], " "))
	fmt.Print(results)
	if *out == "" {
		return
	}
	for name, content := range map[string]string{"RESULTS.md": results, "results.svg": run.plot()} {
		if err := os.WriteFile(filepath.Join(*out, name), []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// run is one call of the command.
type run struct {
	peers   []peer
	cases   []bcase
	rounds  int
	span    time.Duration
	profile string

	files   int // descriptors that a process may hold
	results map[key][]sample
	notes   []string
}

// key is whose samples are meant.
type key struct{ bcase, peer string }

// sample is what one round says of one peer in one case.
type sample struct {
	rate         float64 // messages, deliveries or handshakes a second
	user, system float64 // microseconds of the server's CPU for each
	p50, p99     time.Duration
	memory       float64 // resident: MiB of the server, or KB a connection where it idles
}

func (s sample) cpu() float64 { return s.user + s.system }

// all runs every case with every peer, round by round.
func (r *run) all(ctx context.Context) error {
	r.results = make(map[key][]sample)
	var err error
	if r.files, err = raiseFileLimit(); err != nil {
		return err
	}
	tools, err := prepare(ctx, r.peers)
	if err != nil {
		return err
	}
	defer tools.remove()
	begin := time.Now()
	total, done := r.rounds*len(r.cases)*len(r.peers), 0
	for round := range r.rounds {
		for _, c := range r.cases {
			for _, p := range r.peers {
				left := ""
				if done > 0 {
					left = (time.Since(begin) / time.Duration(done) * time.Duration(total-done)).Round(time.Second).String() + " left"
				}
				fmt.Fprintf(os.Stderr, "\r\033[Kround %d of %d: %s, %s  %s", round+1, r.rounds, c.name, p.name, left)
				done++
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if why := p.cannot(c); why != "" {
					continue
				}
				s, err := r.measure(ctx, tools, c, p)
				if err != nil {
					r.note("%s, %s: %v", c.name, p.name, err)
					continue
				}
				k := key{c.name, p.name}
				r.results[k] = append(r.results[k], s)
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	return nil
}

// note keeps what the results have to say besides figures, once.
func (r *run) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

// raiseFileLimit lets this process, and those that it starts, hold as many descriptors as the system allows.
func raiseFileLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise the limit of open files: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}
