package kit

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// The log, read by tests.

// Logbook is a logger's memory.
type Logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// NewLogbook returns a logger for all levels, and the book of its lines.
func NewLogbook() (*slog.Logger, *Logbook) {
	l := &Logbook{}
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *Logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *Logbook) Lines() []string { return slices.Collect(strings.Lines(l.String())) }

// Last returns the last line that has part in it, "" for none.
func (l *Logbook) Last(part string) (line string) {
	for _, s := range l.Lines() {
		if strings.Contains(s, part) {
			line = s
		}
	}
	return line
}

// Level returns the lines of one level.
func (l *Logbook) Level(name string) []string {
	return slices.DeleteFunc(l.Lines(), func(line string) bool { return !strings.Contains(line, "level="+name+" ") })
}
