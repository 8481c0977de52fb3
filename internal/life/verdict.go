package life

// What is said of a connection's end.

import (
	"errors"
	"fmt"
)

var (
	errNoAnswer    = errors.New("hail: the peer's close frame did not come")
	errNotSent     = errors.New("hail: the close frame could not be written")
	errNotWritable = errors.New("hail: connection lost: nothing can be written")
	errPongMissing = errors.New("hail: no answer to a ping (Options.PongTimeout)")
	errNoProgress  = errors.New("hail: the peer accepts no data (Options.WriteTimeout)")
	errTooSlow     = errors.New("hail: a message took too long to arrive (Options.MessageTimeout)")
)

// Why returns the error for a finding at a connection in that state.
func (f Finding) Why(s State) error {
	switch {
	case f == Unread:
		return errNoProgress
	case f == Silent:
		return errPongMissing
	case f == Slow:
		return errTooSlow
	case !s.Ends():
		return errNotWritable
	case !s.Sent():
		return errNotSent
	}
	return errNoAnswer
}

// Conclude returns what went wrong with a connection that has ended in that state, nil for a clean close. err is why it ended,
// trouble what went wrong later; lost is how many queued messages were not written.
func (s State) Conclude(err, trouble error, lost int) error {
	clean := s.Sent() && s.Received()
	switch {
	case clean || err != nil:
	case trouble != nil:
		err = trouble
	case s.Sent():
		err = errNoAnswer
	default:
		err = errNotSent
	}
	switch {
	case lost > 0 && err != nil:
		return &lostError{err, lost}
	case lost > 0:
		return fmt.Errorf("hail: %d queued messages were not written", lost)
	}
	return err
}

// lostError is an error and the messages that were not written. Its text is made when it is asked for, not under the lock that
// Conclude is called under: the error may be the user's.
type lostError struct {
	err  error
	lost int
}

func (e *lostError) Error() string {
	return fmt.Sprintf("%v; %d queued messages were not written", e.err, e.lost)
}

func (e *lostError) Unwrap() error { return e.err }
