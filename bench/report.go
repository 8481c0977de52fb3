package main

// The results as text: medians, and ratios of samples of the same round.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// median returns the median of f over the samples.
func median[S any](samples []S, f func(S) float64) float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = f(s)
	}
	slices.Sort(v)
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// cost is the measure that compares peers: CPU, or memory if connections idle.
func (c bcase) cost(s sample) float64 {
	if c.unit == "" {
		return s.memory
	}
	return s.cpu()
}

// pace is the time for one, while all of the machine's cores work on it.
func pace(s sample) float64 { return 1 / s.rate }

// ratio returns the median of ratios, 0 if there are none.
func (r *run) ratio(bcase, a, b string, cost func(sample) float64) float64 {
	return median(r.ratios(bcase, a, b, cost), func(v float64) float64 { return v })
}

// ratios returns the ratio of a's cost to b's for each round that has both.
func (r *run) ratios(bcase, a, b string, cost func(sample) float64) (ratios []float64) {
	for _, x := range r.results[key{bcase, a}] {
		for _, y := range r.results[key{bcase, b}] {
			if x.round == y.round && cost(y) > 0 {
				ratios = append(ratios, cost(x)/cost(y))
			}
		}
	}
	return ratios
}

// goal is a target figure of the design.
type goal struct {
	bcase   string
	peer    string // the peer whose figure is 1; "": most is absolute
	most    float64
	stretch bool
	pace    bool // of the time instead of the cost
}

var goals = []goal{
	{bcase: "echo-128", peer: "gws", most: 0.85},
	{bcase: "echo-128", peer: "bun", most: 0.95, stretch: true},
	{bcase: "echo-128x16", peer: "gws", most: 0.20},
	{bcase: "echo-128x16", peer: "bun", most: 0.60, stretch: true},
	{bcase: "echo-16K", peer: "gws", most: 1.0},
	{bcase: "echo-16K", peer: "gws", most: 0.8, stretch: true},
	{bcase: "burst", peer: "gws", most: 0.25},
	{bcase: "burst", peer: "bun", most: 1.0, stretch: true},
	{bcase: "handshake", peer: "gws", most: 1.0, pace: true},
	{bcase: "idle", peer: "gws", most: 0.5},
	{bcase: "idle", most: 4.0},
	{bcase: "idle", most: 2.1, stretch: true},
	{bcase: "idle", peer: "bun", most: 1.0, stretch: true},
}

// figures returns the figures of hail and hail-reuse for a goal.
func (r *run) figures(g goal, c bcase) (hail, reuse float64) {
	cost := c.cost
	if g.pace {
		cost = pace
	}
	if g.peer == "" {
		return median(r.results[key{c.name, "hail"}], cost), median(r.results[key{c.name, "hail-reuse"}], cost)
	}
	return r.ratio(c.name, "hail", g.peer, cost), r.ratio(c.name, "hail-reuse", g.peer, cost)
}

func (g goal) String() string {
	what := "server CPU"
	switch {
	case g.pace:
		what = "time"
	case g.bcase == "idle":
		what = "memory"
	}
	most := fmt.Sprintf("%.2f of %s's %s", g.most, g.peer, what)
	if g.peer == "" {
		most = fmt.Sprintf("%.1f KB", g.most)
	}
	if g.stretch {
		most += " (stretch)"
	}
	return most
}

// markdown returns the results as a page.
func (r *run) markdown(args string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results\n\nWritten by `go run . %s` in `bench/`, at commit %s on %s. ",
		args, output("git", "describe", "--always", "--dirty=, changed"), time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&b, "Medians of %d rounds of %v; in each round every case ran with every peer in turn.\n\n", r.rounds, r.span)
	b.WriteString("Each server is a process of its own and says its own CPU time, user and system. The load comes from one process over loopback, on the same\n" +
		"cores: CPU that a server saves goes to the load, so compare CPU before rates. hail's part is hail's cost in parts of the peer's, in the same\n" +
		"round: below 1 hail is cheaper. Cost is CPU, or memory if connections idle; KB are 1024 B.\n\n")
	b.WriteString(r.machine())
	b.WriteString("\n| peer | how it is set up |\n|---|---|\n")
	for _, p := range r.peers {
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, p.setUp)
	}
	r.goalsTable(&b)
	for _, c := range r.cases {
		fmt.Fprintf(&b, "\n## %s\n\n", c.title)
		r.table(&b, c)
	}
	if len(r.notes) > 0 {
		b.WriteString("\n## Notes\n\n")
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.String()
}

func (r *run) goalsTable(b *strings.Builder) {
	b.WriteString("\n## Against the goals\n\n| case | at most | hail | hail-reuse |\n|---|---|--:|--:|\n")
	for _, g := range goals {
		i := slices.IndexFunc(r.cases, func(c bcase) bool { return c.name == g.bcase })
		if i < 0 {
			continue
		}
		hail, reuse := r.figures(g, r.cases[i])
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.cases[i].title, g, figure(hail), figure(reuse))
	}
}

func (r *run) table(b *strings.Builder, c bcase) {
	if c.unit == "" {
		b.WriteString("| peer | KB a connection | hail's part | hail-reuse's part |\n|---|--:|--:|--:|\n")
	} else {
		fmt.Fprintf(b, "| peer | %ss/s | CPU us a %s | user | system | p50 | p99 | MiB | hail's part | hail-reuse's part |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", plural(c.unit), c.unit)
	}
	for _, p := range r.peers {
		samples := r.results[key{c.name, p.name}]
		if len(samples) == 0 {
			continue
		}
		mid := func(f func(sample) float64) float64 { return median(samples, f) }
		parts := figure(r.ratio(c.name, "hail", p.name, c.cost)) + " | " + figure(r.ratio(c.name, "hail-reuse", p.name, c.cost))
		if c.unit == "" {
			fmt.Fprintf(b, "| %s | %.2f | %s |\n", p.name, mid(func(s sample) float64 { return s.memory }), parts)
			continue
		}
		fmt.Fprintf(b, "| %s | %.0f | %.2f | %.2f | %.2f | %s | %s | %.0f | %s |\n", p.name, mid(func(s sample) float64 { return s.rate }),
			mid(sample.cpu), mid(func(s sample) float64 { return s.user }), mid(func(s sample) float64 { return s.system }),
			short(mid(func(s sample) float64 { return float64(s.p50) })), short(mid(func(s sample) float64 { return float64(s.p99) })),
			mid(func(s sample) float64 { return s.memory }), parts)
	}
}

// plural returns a unit's plural without the s.
func plural(unit string) string {
	if stem, ok := strings.CutSuffix(unit, "y"); ok {
		return stem + "ie"
	}
	return unit
}

func figure(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

func short(ns float64) string {
	switch d := time.Duration(ns); {
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.0f us", d.Seconds()*1e6)
	}
}

// machine describes the machine and the versions.
func (r *run) machine() string {
	var b strings.Builder
	model := ""
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(info) {
			if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	fmt.Fprintf(&b, "Machine: %d cores of %s, Linux %s, at most %d open files a process. Go %s", runtime.NumCPU(), model,
		output("uname", "-r"), r.files, strings.TrimPrefix(runtime.Version(), "go"))
	for _, p := range r.peers {
		switch p.name {
		case "ws":
			fmt.Fprintf(&b, ", Node %s with ws %s", output("node", "--version"), npmVersion("ws"))
		case "bun":
			fmt.Fprintf(&b, ", Bun %s", npmVersion("bun"))
		}
	}
	for line := range strings.Lines(output("go", "list", "-m", "-f", "{{if not .Main}}{{.Path}} {{.Version}}{{end}}",
		"github.com/lxzan/gws", "github.com/gorilla/websocket", "github.com/olahol/melody", "github.com/coder/websocket", "github.com/gobwas/ws")) {
		fmt.Fprintf(&b, ", %s", strings.TrimSpace(line))
	}
	b.WriteString(".\n")
	return b.String()
}

// npmVersion returns the version of a package that bench/js has.
func npmVersion(name string) string {
	return output("node", "-p", "require('./js/node_modules/"+name+"/package.json').version")
}

// output returns the output of a command, "unknown" if it fails.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
