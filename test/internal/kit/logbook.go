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

// NewLogbook returns a logger for all levels and what it has logged.
func NewLogbook() (*slog.Logger, *Logbook) {
	l := &Logbook{}
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *Logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Logbook) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(strings.Lines(l.buf.String()))
}

// Level returns the lines of one level.
func (l *Logbook) Level(name string) []string {
	return slices.DeleteFunc(l.Lines(), func(line string) bool { return !strings.Contains(line, "level="+name+" ") })
}
