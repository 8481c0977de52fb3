// Command bench runs hail and its peers in turn on one machine, round by round, and prints medians and ratios.
// Each server is a process of its own that tells its own CPU time; the load comes from this one, over loopback.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
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
	rounds := flag.Int("rounds", 0, "rounds; each runs every case with every peer; 0: 3, or 5 with -base")
	span := flag.Duration("time", 400*time.Millisecond, "how long a case is measured in a round")
	out := flag.String("out", "", "directory to write RESULTS.md and results.svg to; none: print the table only")
	growth := flag.Bool("growth", false, "weigh 1,000 to 18,000 idle connections instead, and measure the cost of a garbage collection with them")
	base := flag.String("base", "", "revision to compare hail and hail-reuse with, instead of with their peers")
	profile := flag.String("profile", "", "directory for a CPU profile of each Go server in each case")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(800) // the heap is small, and the machine's cores are for the servers
	r := &run{rounds: cmp.Or(*rounds, 3), warm: max(*span/3, 300*time.Millisecond), span: *span, settle: 200 * time.Millisecond, profile: *profile, progress: os.Stderr}
	if err := r.choose(*cases, *names); err != nil {
		log.Fatal(err)
	}
	if *base != "" {
		r.rounds = cmp.Or(*rounds, 5)
		if err := r.compareWith(*base); err != nil {
			log.Fatal(err)
		}
	}
	if *growth {
		if err := r.growth(ctx, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := r.all(ctx); err != nil {
		log.Fatal(err)
	}
	if *base != "" {
		fmt.Println(r.comparison())
		return
	}
	results := r.markdown(strings.Join(os.Args[1:], " "))
	fmt.Print(results)
	if *out == "" {
		return
	}
	for name, content := range map[string]string{"RESULTS.md": results, "results.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(*out, name), []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// run is one call of the command.
type run struct {
	peers    []peer
	cases    []bcase
	base     string // revision to compare with, "" for none
	rounds   int
	warm     time.Duration // before a case is measured
	span     time.Duration
	settle   time.Duration // before memory is measured
	profile  string
	progress io.Writer

	files   int // descriptors that a process may hold
	results map[key][]sample
	notes   []string
}

// key names the case and the peer of samples.
type key struct{ bcase, peer string }

// sample is the result of one round for one peer in one case.
type sample struct {
	round        int
	rate         float64 // messages, deliveries or handshakes a second
	user, system float64 // microseconds of the server's CPU for each
	p50, p99     time.Duration
	memory       float64 // resident: MiB of the server, or KB a connection if they idle
}

func (s sample) cpu() float64 { return s.user + s.system }

// choose sets the cases that match a pattern, and the peers by their names.
func (r *run) choose(pattern, names string) error {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-cases: %w", err)
	}
	for _, c := range allCases {
		if match.MatchString(c.name) {
			r.cases = append(r.cases, c)
		}
	}
	if len(r.cases) == 0 {
		return fmt.Errorf("-cases: none matches %q", pattern)
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(allPeers, func(p peer) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("-peers: no peer %q among %s", name, strings.Join(peerNames(), ", "))
		}
		r.peers = append(r.peers, allPeers[i])
	}
	return nil
}

// turn is one case with one peer in one round.
type turn struct {
	round int
	bcase bcase
	peer  peer
}

func (r *run) turns() []turn {
	var turns []turn
	for round := range r.rounds {
		for _, c := range r.cases {
			for _, p := range r.peers {
				if p.can(c) {
					turns = append(turns, turn{round, c, p})
				}
			}
		}
	}
	return turns
}

// all runs every case with every peer, round by round, and notes failures.
func (r *run) all(ctx context.Context) error {
	r.results = make(map[key][]sample)
	var err error
	if r.files, err = raiseFileLimit(); err != nil {
		return err
	}
	tools, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer tools.remove()
	begin, turns := time.Now(), r.turns()
	for done, t := range turns {
		left := "?"
		if done > 0 {
			left = (time.Since(begin) / time.Duration(done) * time.Duration(len(turns)-done)).Round(time.Second).String()
		}
		fmt.Fprintf(r.progress, "\r\033[Kround %d of %d, %s left: %s, %s", t.round+1, r.rounds, left, t.bcase.name, t.peer.name)
		s, err := r.measure(ctx, tools, t.bcase, t.peer)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.note("%s, %s: %v", t.bcase.name, t.peer.name, err)
		default:
			s.round = t.round
			k := key{t.bcase.name, t.peer.name}
			r.results[k] = append(r.results[k], s)
		}
	}
	fmt.Fprint(r.progress, "\r\033[K")
	return nil
}

// note adds a remark to the results, once.
func (r *run) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

// raiseFileLimit sets the limit of descriptors for this process, and those that it starts, to the system's maximum.
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
