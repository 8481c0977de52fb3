// Package house_test checks the layout of the tree: imports, and the lengths of files and functions.
package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	longestFile     = 400 // lines
	longestFunction = 60
)

// limits bound how many there may be of each. Lower most when a number falls, until it is the goal.
var limits = []struct {
	what       string
	most, goal int
	count      func(*source) []string // the names of all
}{
	{"files that are too long", 0, 0, func(s *source) []string { return s.longFiles(false) }},
	{"test files that are too long", 0, 0, func(s *source) []string { return s.longFiles(true) }},
	{"functions that are too long, tests excepted", 0, 0, (*source).longFunctions},
	{".go files in the root", 16, 16, (*source).root},
	{"lines in the root that are not tests'", 1854, 1600, (*source).rootLines},
}

// layers lists the packages of this module that a package may import. A listed package need not exist. A package that is
// not listed may import hail and the packages beside it. It may import no internal package, except from its own tree.
var layers = map[string]string{
	".":               "internal/*",
	"internal/admit":  "internal/wire",
	"internal/fanout": "internal/wire",
	"internal/life":   "",
	"internal/link":   "internal/poll internal/wire",
	"internal/poll":   "",
	"internal/wire":   "",

	"test/internal/kit": ". hailtest internal/wire", // helpers of tests
}

// testLayers lists the packages that tests may import in addition. An internal package's tests may import hailtest and
// internal packages, never hail.
var testLayers = map[string]string{
	".":         "hailtest internal/*",
	"test/soak": "internal/*", // faults
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := read(t)
	for _, limit := range limits {
		got := limit.count(s)
		t.Logf("%s: %d, at most %d, the goal is %d", limit.what, len(got), limit.most, limit.goal)
		if len(got) > limit.most {
			slices.Sort(got)
			t.Errorf("%s: got %d, want at most %d:\n\t%s", limit.what, len(got), limit.most, strings.Join(slices.Compact(got), "\n\t"))
		}
	}
}

func TestImportsRunDownwards(t *testing.T) {
	t.Parallel()
	for _, f := range read(t).files {
		for _, imported := range f.imports {
			if !mayImport(f.dir, imported, f.test) {
				t.Errorf("%s imports %s, which is not below it", f.name, path.Join("hail", imported))
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		dir, imported string
		test, want    bool
	}{
		{".", "internal/link", false, true},
		{".", "hailtest", false, false},
		{".", "hailtest", true, true},
		{".", ".", true, true},
		{"internal/link", "internal/poll", false, true},
		{"internal/link", "internal/fanout", false, false},
		{"internal/link", "internal/fanout", true, true},
		{"internal/link", ".", false, false},
		{"internal/link", ".", true, false},
		{"internal/link", "hailtest", false, false},
		{"internal/link", "hailtest", true, true},
		{"internal/poll", "internal/wire", false, false},
		{"internal/poll", "internal/poll", true, true},
		{"internal/new", "internal/wire", false, false},
		{"hailtest", ".", false, true},
		{"hailtest", "internal/wire", false, false},
		{"hailtest", "internal/wire", true, false},
		{"jsonrpc", "hailtest", false, true},
		{"examples/chat", "internal/link", false, false},
		{"test/soak", "internal/link", true, true},
		{"test/limits", "internal/link", true, false},
		{"mount", "mount/internal/rig", true, true},
		{"mount/gin111", "mount/internal/rig", true, true},
		{"bench", "mount/internal/rig", false, false},
		{"examples/greeter", "examples/wechat", false, true},
		{"hailtest", "examples/wechat", false, false},
		{"hailtest", "test/kit", false, false},
		{"hailtest", "test/kit", true, false},
		{"test/limits", "test/internal/kit", true, true},
		{"internal/link", "test/internal/kit", true, false},
	} {
		if got := mayImport(tc.dir, tc.imported, tc.test); got != tc.want {
			t.Errorf("%s imports %s, a test %v: got %v, want %v", tc.dir, tc.imported, tc.test, got, tc.want)
		}
	}
}

// mayImport reports whether a file of one directory may import the package of another.
func mayImport(dir, imported string, test bool) bool {
	if test && (imported == dir || matches(testLayers[dir], imported)) {
		return true
	}
	below, listed := layers[dir]
	if listed || strings.HasPrefix(dir, "internal/") {
		return matches(below, imported) || test && dir != "." && matches("hailtest internal/*", imported)
	}
	// An internal package belongs to the tree that it is in, a leaf to itself.
	tree, _, internal := cutInternal(imported)
	if !internal {
		tree = leafOf(imported)
	}
	return tree == "" || within(dir, tree)
}

// leafOf returns the tree of programs or tests that a directory is in, "" for none.
func leafOf(dir string) string {
	for _, leaf := range []string{"bench", "examples", "mount", "test"} {
		if within(dir, leaf) {
			return leaf
		}
	}
	return ""
}

// within reports whether a directory is in a tree below the root.
func within(dir, tree string) bool { return strings.HasPrefix(dir+"/", tree+"/") }

// cutInternal returns the directory that an internal package is in.
func cutInternal(dir string) (tree, rest string, internal bool) {
	if rest, ok := strings.CutPrefix(dir, "internal/"); ok {
		return ".", rest, true
	}
	return strings.Cut(dir, "/internal/")
}

// matches reports whether one of the patterns, separated by spaces, matches the directory.
func matches(patterns, dir string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool {
		ok, _ := path.Match(p, dir)
		return ok
	})
}

// source is the tree's Go code, with nested modules, and with files for any system or tag.
type source struct{ files []file }

type file struct {
	name, dir string // relative to the root, with slashes
	test      bool
	lines     int
	imports   []string // directories of this module
	functions []function
}

type function struct {
	name  string
	lines int
}

// read reads the source.
func read(t *testing.T) *source {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Path}}\n{{.Dir}}").Output()
	module, root, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || !ok {
		t.Fatalf("go list -m: got %q, %v, want a path and a directory", out, err)
	}
	s := new(source)
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && p != root && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".")):
			return filepath.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := parse(p, filepath.ToSlash(name), module)
		s.files = append(s.files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.files) < 50 {
		t.Fatalf("got %d files in %s, want the whole tree", len(s.files), root)
	}
	return s
}

func parse(p, name, module string) (file, error) {
	f := file{name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
	text, err := os.ReadFile(p)
	if err != nil {
		return f, err
	}
	f.lines = bytes.Count(text, []byte("\n"))
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return f, err
	}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return f, err
		}
		if imported == module {
			f.imports = append(f.imports, ".")
		} else if dir, ours := strings.CutPrefix(imported, module+"/"); ours {
			f.imports = append(f.imports, dir)
		}
	}
	for _, decl := range tree.Decls {
		if d, ok := decl.(*ast.FuncDecl); ok {
			lines := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1
			f.functions = append(f.functions, function{d.Name.Name, lines})
		}
	}
	return f, nil
}

func (s *source) longFiles(test bool) (names []string) {
	for _, f := range s.files {
		if f.test == test && f.lines > longestFile {
			names = append(names, fmt.Sprintf("%s: %d lines", f.name, f.lines))
		}
	}
	return names
}

func (s *source) longFunctions() (names []string) {
	for _, f := range s.files {
		for _, fn := range f.functions {
			if !f.test && fn.lines > longestFunction {
				names = append(names, fmt.Sprintf("%s: %s: %d lines", f.name, fn.name, fn.lines))
			}
		}
	}
	return names
}

func (s *source) root() (names []string) {
	for _, f := range s.files {
		if f.dir == "." {
			names = append(names, f.name)
		}
	}
	return names
}

// rootLines returns an entry for each line, with the name of its file.
func (s *source) rootLines() (names []string) {
	for _, f := range s.files {
		if f.dir == "." && !f.test {
			names = append(names, slices.Repeat([]string{fmt.Sprintf("%s: %d lines", f.name, f.lines)}, f.lines)...)
		}
	}
	return names
}
