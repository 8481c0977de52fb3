package life_test

// How the table is read, and how it is printed.

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/hail/internal/life"
)

// row is a line of the table.
type row struct {
	event string
	from  string   // phase/call
	facts []string // that the state has
	to    string   // phase/call, and the facts that become known
	do    string
}

func (r row) name() string {
	return strings.Join(append([]string{r.from + "/" + r.event}, r.facts...), ",")
}

func (r row) phase() string { p, _, _ := strings.Cut(r.from, "/"); return p }

func (r row) call() string { _, c, _ := strings.Cut(r.from, "/"); return c }

// outcome is what the row says, in short.
func (r row) outcome() string {
	next, _, _ := strings.Cut(r.to, " ")
	phase, call, _ := strings.Cut(next, "/")
	var parts []string
	if phase != r.phase() {
		parts = append(parts, "**"+phase+"**")
	}
	if call == life.Last.String() && r.call() != call {
		parts = append(parts, "becomes the last")
	}
	if r.do != "" {
		parts = append(parts, r.do)
	}
	if parts == nil {
		return "·"
	}
	return strings.Join(parts, "; ")
}

// column is where the parts of a line begin.
const toColumn, doColumn = 32, 58

// parseTable reads the table.
func parseTable(t *testing.T, text string) (rows []row, meaning map[string]string) {
	t.Helper()
	event, meaning := "", map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			name, says, _ := strings.Cut(line, ": ")
			event, meaning[name] = name, says
			continue
		}
		if len(line) < toColumn {
			t.Fatalf("line %q has no second column", line)
		}
		line += strings.Repeat(" ", max(doColumn-len(line), 0))
		from := strings.Fields(line[:toColumn])
		rows = append(rows, row{event, from[0], from[1:], strings.TrimSpace(line[toColumn:doColumn]), line[doColumn:]})
	}
	return rows, meaning
}

// rowFor returns the row for an event at a state: of those that fit, the one that names most facts. Two of them must say the same.
func rowFor(rows []row, s step) (row, error) {
	known := strings.Fields(s.from.String())
	var best []row
	for _, r := range rows {
		if r.event != s.e.String() || r.from != known[0] || slices.ContainsFunc(r.facts, func(f string) bool { return !slices.Contains(known[1:], f) }) {
			continue
		}
		if len(best) > 0 && len(best[0].facts) > len(r.facts) {
			continue
		}
		if len(best) > 0 && len(best[0].facts) < len(r.facts) {
			best = nil
		}
		best = append(best, r)
	}
	if len(best) == 0 {
		return row{}, fmt.Errorf("%v/%v: got no row for %q", known[0], s.e, s.from)
	}
	for _, r := range best[1:] {
		if r.to != best[0].to || r.do != best[0].do {
			return row{}, fmt.Errorf("%v/%v: got two rows for %q: %+v and %+v", known[0], s.e, s.from, best[0], r)
		}
	}
	return best[0], nil
}

// printTable prints the table in markdown: a row for each event, a column for each phase. The calls are told apart only if they differ.
func printTable(rows []row, meaning map[string]string) string {
	var b strings.Builder
	b.WriteString("A cell says the next phase, if that changes, and what is to be done. A dot stands for nothing; an event of an empty cell\n" +
		"cannot happen. _In italics_: the call, if it matters, and facts that are known.\n\n| event |")
	for p := life.Opening; p <= life.Done; p++ {
		fmt.Fprintf(&b, " %v |", p)
	}
	b.WriteString("\n|" + strings.Repeat("---|", int(life.Done)+2) + "\n")
	for e := range life.Events {
		fmt.Fprintf(&b, "| **%v**: %s |", e, meaning[e.String()])
		for p := life.Opening; p <= life.Done; p++ {
			cell := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.event != e.String() || r.phase() != p.String() })
			fmt.Fprintf(&b, " %s |", printCell(cell))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// printCell prints what an event does in a phase.
func printCell(rows []row) string {
	if len(rows) == 0 {
		return ""
	}
	var groups [][]row // of rows that do not differ but in the call
	for _, c := range []life.Call{life.None, life.Running, life.Last} {
		var of []row
		for _, r := range rows {
			if r.call() == c.String() {
				of = append(of, r)
			}
		}
		i := slices.IndexFunc(groups, func(g []row) bool { return agree(g, of) })
		switch {
		case of == nil:
		case i < 0:
			groups = append(groups, of)
		default:
			groups[i] = append(groups[i], of...)
		}
	}
	var clauses []string
	for _, g := range groups {
		clauses = append(clauses, printGroup(g, len(groups) > 1)...)
	}
	return strings.Join(clauses, "<br>")
}

// agree reports whether two calls' rows say the same wherever they name the same facts.
func agree(a, b []row) bool {
	for _, r := range a {
		for _, s := range b {
			if slices.Equal(r.facts, s.facts) && r.outcome() != s.outcome() {
				return false
			}
		}
	}
	return true
}

// printGroup prints rows of the same meaning, each meaning once, with their calls if these matter.
func printGroup(rows []row, named bool) (clauses []string) {
	var calls []string
	for _, r := range rows {
		if !slices.Contains(calls, r.call()) {
			calls = append(calls, r.call())
		}
	}
	for _, r := range rows {
		var label []string
		if named {
			label = append(label, strings.Join(calls, " or "))
		}
		label = append(label, r.facts...)
		clause := r.outcome()
		if len(label) > 0 {
			clause = "_" + strings.Join(label, ", ") + "_: " + clause
		}
		if !slices.Contains(clauses, clause) {
			clauses = append(clauses, clause)
		}
	}
	return clauses
}
