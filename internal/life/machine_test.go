package life_test

// The state machine of a connection, cell by cell.

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/hail/internal/life"
)

var update = flag.Bool("update", false, "write the table of a connection's life into ARCHITECTURE.md")

// TestTable holds the machine against the table. What can happen must stand in the table, and what stands there must be able to happen.
func TestTable(t *testing.T) {
	t.Parallel()
	rows, meaning := parseTable(t, lifeTable)
	cells := make(map[string][]step)
	ways := reachable()
	for s := range ways {
		r, err := rowFor(rows, s)
		if err != nil {
			t.Errorf("%v; it happens after %v", err, ways[s])
			continue
		}
		cells[r.name()] = append(cells[r.name()], s)
	}
	for e := range life.Events {
		if meaning[e.String()] == "" {
			t.Errorf("the table does not have the event %v", e)
		}
	}
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			t.Parallel()
			if len(cells[r.name()]) == 0 {
				t.Fatalf("this cannot happen, want no row for it")
			}
			for _, s := range cells[r.name()] {
				r.check(t, s, ways[s])
			}
		})
	}
}

// check has a machine go the way to a state, and holds what the event does there against the row.
func (r row) check(t *testing.T, s step, way []life.Event) {
	var m life.Machine
	for _, e := range way {
		m.Step(e)
	}
	if got := m.State(); got != s.from {
		t.Fatalf("%v lead to %v, want %v", way, got, s.from)
	}
	state, do := m.Step(s.e)
	before, after := strings.Fields(s.from.String()), strings.Fields(state.String())
	got := after[0]
	for _, fact := range after[1:] {
		if !slices.Contains(before, fact) {
			got += " +" + fact
		}
	}
	want := strings.Fields(r.to)
	// A fact that is known already does not become known.
	want = slices.DeleteFunc(want, func(w string) bool { return slices.Contains(before, strings.TrimPrefix(w, "+")) && w[0] == '+' })
	if want := strings.Join(want, " "); got != want || do.String() != r.do {
		t.Errorf("%v in %v: got %q and to do %q, want %q and %q; it happens after %v", s.e, s.from, got, do, want, r.do, way)
	}
	for _, fact := range before[1:] {
		if !slices.Contains(after, fact) {
			t.Errorf("%v in %v: %q is not known any more in %v", s.e, s.from, fact, state)
		}
	}
}

// TestStatesThatCanBe has all phases by all calls: those that are not listed cannot be.
func TestStatesThatCanBe(t *testing.T) {
	t.Parallel()
	want := []string{
		"opening/none", "opening/running", "opening/last",
		"open/none", "open/running", "open/last",
		"broken/none", "broken/running", "broken/last",
		"failing/running", // OnError runs
		"closing/none", "closing/running",
		"cut/none", "cut/running",
		"done/none",
	}
	seen := map[string]bool{}
	for s := range reachable() {
		seen[strings.Fields(s.from.String())[0]] = true
	}
	for _, s := range want {
		if !seen[s] {
			t.Errorf("%s cannot be, want it to", s)
		}
		delete(seen, s)
	}
	if len(seen) > 0 {
		t.Errorf("%v can be, want them not to", slices.Sorted(maps.Keys(seen)))
	}
}

// TestStateSays holds what a state says of itself against its text.
func TestStateSays(t *testing.T) {
	t.Parallel()
	for s := range reachable() {
		state := s.from
		text := strings.Fields(state.String())
		for fact, got := range map[string]bool{"called": state.Called(), "accepted": state.Accepted(), "mute": state.Mute(),
			"lost": state.Lost(), "sent": state.Sent(), "received": state.Received(), "ended": state.Ended()} {
			if want := slices.Contains(text[1:], fact); got != want {
				t.Errorf("%v: got %s %v, want %v", state, fact, got, want)
			}
		}
		if got, want := text[0], state.Phase().String()+"/"+state.Call().String(); got != want {
			t.Errorf("%v: got %q, want %q", state, got, want)
		}
		if got, want := state.IsOpen(), state.Accepted() && text[0] != "done/none"; got != want {
			t.Errorf("%v: got IsOpen %v, want %v", state, got, want)
		}
		phase, _, _ := strings.Cut(text[0], "/")
		if got, want := state.Ends(), slices.Contains([]string{"failing", "closing", "cut", "done"}, phase); got != want {
			t.Errorf("%v: got Ends %v, want %v", state, got, want)
		}
	}
}

// TestBeginAndLeave holds the two short forms of Step against it.
func TestBeginAndLeave(t *testing.T) {
	t.Parallel()
	for s, way := range reachable() {
		var m life.Machine
		for _, e := range way {
			m.Step(e)
		}
		next, do := life.Next(s.from, s.e)
		switch s.e {
		case life.Begin:
			if got := m.Begin(); got != do.Has(life.Run) || m.State() != next {
				t.Errorf("Begin in %v: got %v and %v, want %v and %v", s.from, got, m.State(), do.Has(life.Run), next)
			}
		case life.Return:
			want := next
			if do != 0 {
				want = s.from // it is left to Step
			}
			if got := m.Leave(); got != (do == 0) || m.State() != want {
				t.Errorf("Leave in %v: got %v and %v, want %v and %v", s.from, got, m.State(), do == 0, want)
			}
		}
	}
}

// TestArchitecture holds the table in ARCHITECTURE.md against the one that the machine is held against.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../ARCHITECTURE.md", "<!-- table of a connection's life -->\n", "<!-- end of table -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s: got no section between %q and %q", path, begin, end)
	}
	rows, meaning := parseTable(t, lifeTable)
	want := "\n" + printTable(rows, meaning) + "\n"
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s: got another table (go test ./internal/life -update writes it):\n%s\nwant:\n%s", path, got, want)
}
