package main

// hail at another revision against hail in this tree.

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// atBase ends the name of a peer that runs at the revision run.base.
const atBase = "@base"

// compareWith adds a peer at another revision before each hail peer.
func (r *run) compareWith(revision string) error {
	r.base = revision
	var both []peer
	for _, p := range r.peers {
		if p.name == "hail" || p.name == "hail-reuse" {
			base := p
			base.name += atBase
			both = append(both, base, p)
		}
	}
	if len(both) == 0 {
		return fmt.Errorf("-base: neither hail nor hail-reuse is among -peers")
	}
	r.peers = both
	return nil
}

// buildBase builds the servers of another revision, each with the bench/servers of its own time.
func (t *tools) buildBase(ctx context.Context, revision string) error {
	tar, tree := filepath.Join(t.dir, "base.tar"), filepath.Join(t.dir, "base")
	t.base = filepath.Join(t.dir, "servers"+atBase)
	if err := command(ctx, "..", "git", "archive", "--prefix=base/", "-o", tar, revision); err != nil {
		return err
	}
	if err := command(ctx, t.dir, "tar", "-xf", tar); err != nil {
		return err
	}
	return command(ctx, filepath.Join(tree, "bench"), "go", "build", "-o", t.base, "./servers")
}

// comparison returns the costs at both revisions as a table. A ratio is the median of the rounds' ratios.
func (r *run) comparison() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Base: %s. Medians of %d rounds of %v; a ratio below 1 is in this tree's favour.\n\n",
		cmp.Or(output("git", "describe", "--always", r.base), r.base), r.rounds, r.span)
	b.WriteString("| case | peer | cost | base | this tree | ratio | ratios of the rounds |\n|---|---|---|--:|--:|--:|---|\n")
	for _, c := range r.cases {
		unit := "CPU us a " + c.unit
		if c.unit == "" {
			unit = "KB a connection"
		}
		for _, p := range r.peers {
			if strings.HasSuffix(p.name, atBase) {
				continue
			}
			ratios := r.ratios(c.name, p.name, p.name+atBase, c.cost)
			if len(ratios) == 0 {
				continue // the notes have the failure
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.2f | %.3f | %.3f to %.3f |\n", c.title, p.name, unit,
				median(r.results[key{c.name, p.name + atBase}], c.cost), median(r.results[key{c.name, p.name}], c.cost),
				median(ratios, func(v float64) float64 { return v }), slices.Min(ratios), slices.Max(ratios))
		}
	}
	for _, n := range r.notes {
		fmt.Fprintf(&b, "\n- %s", n)
	}
	return b.String()
}
