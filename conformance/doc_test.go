package conformance_test

// The page that says what conforms is held against the tests that show it.

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	// A subtest whose name begins with a section shows what stands there.
	named := regexp.MustCompile(`\bt\.Run\("((?:7692 )?[0-9.]+ [^"]*)"`)
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d files of tests, %v", len(files), err)
	}
	tests := make(map[string]bool) // whether a row names it
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(source), -1) {
			if _, twice := tests[match[1]]; twice {
				t.Errorf("two subtests are called %q", match[1])
			}
			tests[match[1]] = false
		}
	}
	page, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || strings.HasPrefix(line, "| section") || strings.HasPrefix(line, "|--") {
			continue
		}
		names := regexp.MustCompile("`[^`]+`").FindAllString(cells[len(cells)-2], -1)
		if len(names) == 0 || len(cells) != 6 {
			t.Errorf("row of %d cells with %d tests, want 4 and some: %s", len(cells)-2, len(names), line)
		}
		for _, name := range names {
			name = strings.Trim(name, "`")
			if _, ok := tests[name]; !ok {
				t.Errorf("no subtest is called %q, which a row names: %s", name, line)
			}
			tests[name] = true
		}
	}
	for name, inRow := range tests {
		if !inRow {
			t.Errorf("no row of docs/conformance.md names the subtest %q", name)
		}
	}
}
