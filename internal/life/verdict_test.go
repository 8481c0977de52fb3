package life_test

import (
	"errors"
	"testing"

	"example.com/hail/internal/life"
)

// asked is an error that notes whether its text was asked for.
type asked struct{ n int }

func (e *asked) Error() string { e.n++; return "own" }

// TestConcludeAsksForNoText has a connection end with messages left: the caller holds a lock that the error's methods may want.
func TestConcludeAsksForNoText(t *testing.T) {
	t.Parallel()
	own := new(asked)
	err := life.State(0).Conclude(own, nil, 3)
	if own.n != 0 {
		t.Errorf("the error's text was asked for %d times, want none", own.n)
	}
	if got, want := err.Error(), "own; 3 queued messages were not written"; got != want || !errors.Is(err, own) {
		t.Errorf("got %q, want %q, which wraps the error", got, want)
	}
}
