package conformance_test

// docs/conformance.md is checked against the tests that have passed.

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// shown has the number of subtests that have passed, by name, and the page that names them.
var shown = struct {
	page  string
	mu    sync.Mutex
	tests map[string]int
}{tests: make(map[string]int)}

// shows runs a subtest that a row of the page names. Its name begins with a section.
func shows(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { // runs after the subtest's own, and after its parallel subtests
			if t.Skipped() || t.Failed() {
				return
			}
			shown.mu.Lock()
			defer shown.mu.Unlock()
			shown.tests[name]++
		})
		test(t)
	})
}

// rowsOf lists the subtests that more than one row names, so a row that is gone shows.
var rowsOf = map[string]int{
	"4.2.2 extensions": 2,
	"4.2.2 nothing after a refused handshake is read as a request": 2,
	"5.2 unknown opcodes":                2,
	"5.5.1 payloads":                     2,
	"5.5.1 reasons are cut, and UTF-8":   2,
	"5.5.2 pings":                        2,
	"8.1 text that is not UTF-8":         2,
	"7692 5.1 preference":                2,
	"7692 7 offers that can be honoured": 2,
	"7692 7.1.2.1 nothing is compressed for a smaller window": 2,
	"7692 7.2.2 messages of every shape":                      4,
}

// suite runs all tests, and checks the page.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	if code != 0 || !whole() {
		return code
	}
	if err := checkPage(shown.page, shown.tests, rowsOf); err != nil {
		fmt.Fprintln(os.Stderr, "docs/conformance.md:", err)
		return 1
	}
	return 0
}

// TestPage reads the page for suite. It is a test so that go test's cache depends on the page.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	shown.page = string(page)
}

// whole reports whether all tests were run once.
func whole() bool {
	for name, usual := range map[string]string{"run": "", "skip": "", "list": "", "count": "1", "fuzzworker": "false"} {
		if flag.Lookup("test."+name).Value.String() != usual {
			return false
		}
	}
	return true
}

// checkPage returns the differences between the page and the tests that have passed.
func checkPage(page string, tests, rows map[string]int) error {
	var wrong []error
	named := make(map[string]int)
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || strings.HasPrefix(line, "| section") || strings.HasPrefix(line, "|--") {
			continue
		}
		names := regexp.MustCompile("`[^`]+`").FindAllString(cells[len(cells)-2], -1)
		if len(names) == 0 || len(cells) != 6 {
			wrong = append(wrong, fmt.Errorf("row of %d cells with %d tests, want 4 and some: %s", len(cells)-2, len(names), line))
		}
		for _, name := range names {
			name = strings.Trim(name, "`")
			if tests[name] == 0 {
				wrong = append(wrong, fmt.Errorf("no subtest has passed that is called %q, as a row says: %s", name, line))
			}
			named[name]++
		}
	}
	for name, times := range tests {
		if want := max(1, rows[name]); named[name] != want {
			wrong = append(wrong, fmt.Errorf("%d rows name the subtest %q, want %d", named[name], name, want))
		}
		if times > 1 {
			wrong = append(wrong, fmt.Errorf("%d subtests are called %q", times, name))
		}
	}
	return errors.Join(wrong...)
}

func TestCheckPage(t *testing.T) {
	t.Parallel()
	const page = "# Title\n| section | demanded | hail | tests |\n|---|---|---|---|\n| 1 | this | so | `1 this`, `2 that` |\n"
	for name, tt := range map[string]struct {
		page  string
		tests map[string]int
		wrong bool
	}{
		"as it should be":              {page, map[string]int{"1 this": 1, "2 that": 1}, false},
		"a test that is gone":          {page, map[string]int{"1 this": 1}, true},
		"a test that no row names":     {page, map[string]int{"1 this": 1, "2 that": 1, "3 more": 1}, true},
		"two tests of one name":        {page, map[string]int{"1 this": 2, "2 that": 1}, true},
		"a row without a test":         {page + "| 3 | more | so | |\n", map[string]int{"1 this": 1, "2 that": 1}, true},
		"a row with a cell too little": {page + "| 3 | more | `1 this` |\n", map[string]int{"1 this": 1, "2 that": 1}, true},
		"a second row":                 {page + "| 3 | more | so | `3 twice` |\n| 4 | so | so | `3 twice` |\n", map[string]int{"1 this": 1, "2 that": 1, "3 twice": 1}, false},
		"a second row that is gone":    {page + "| 3 | more | so | `3 twice` |\n", map[string]int{"1 this": 1, "2 that": 1, "3 twice": 1}, true},
		"a row too many":               {page + "| 3 | more | so | `2 that` |\n", map[string]int{"1 this": 1, "2 that": 1}, true},
	} {
		if err := checkPage(tt.page, tt.tests, map[string]int{"3 twice": 2}); (err != nil) != tt.wrong {
			t.Errorf("%s: got %v, want an error: %v", name, err, tt.wrong)
		}
	}
}
