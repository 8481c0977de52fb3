package hail

// How a connection ends: close codes, causes, CloseInfo and errors.

import (
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// StatusCode is a close code (RFC 6455 section 7.4). It is the protocol engine's type.
type StatusCode = websocket.StatusCode

// The close codes of RFC 6455 section 7.4.1 and the IANA registry. Codes from 3000 to 3999 are for
// libraries and frameworks, from 4000 to 4999 for applications.
const (
	StatusNormalClosure           = websocket.StatusNormalClosure           // 1000
	StatusGoingAway               = websocket.StatusGoingAway               // 1001
	StatusProtocolError           = websocket.StatusProtocolError           // 1002
	StatusUnsupportedData         = websocket.StatusUnsupportedData         // 1003
	StatusNoStatusRcvd            = websocket.StatusNoStatusRcvd            // 1005: a close frame without a code
	StatusAbnormalClosure         = websocket.StatusAbnormalClosure         // 1006: no close frame; never sent
	StatusInvalidFramePayloadData = websocket.StatusInvalidFramePayloadData // 1007
	StatusPolicyViolation         = websocket.StatusPolicyViolation         // 1008
	StatusMessageTooBig           = websocket.StatusMessageTooBig           // 1009
	StatusMandatoryExtension      = websocket.StatusMandatoryExtension      // 1010
	StatusInternalError           = websocket.StatusInternalError           // 1011
	StatusServiceRestart          = websocket.StatusServiceRestart          // 1012
	StatusTryAgainLater           = websocket.StatusTryAgainLater           // 1013
	StatusBadGateway              = websocket.StatusBadGateway              // 1014
)

// CloseError is the error by which a callback chooses the close code and the reason: returned from
// OnConnect or OnMessage, by value or pointer, wrapped or not, it ends the connection with them.
// A reason over 123 bytes is cut at a character's boundary. A code that may not be sent becomes 1011.
// It is the protocol engine's type.
type CloseError = websocket.CloseError

// Cause says who ended a connection, and why. Later versions may add causes: give a switch a default.
type Cause int

const (
	// CausePeerClosed: the peer sent a close frame.
	CausePeerClosed Cause = iota + 1
	// CausePeerGone: the transport ended without a close frame.
	CausePeerGone
	// CauseClosed: Conn.Close or CloseNow was called.
	CauseClosed
	// CauseCallback: a callback returned an error.
	CauseCallback
	// CausePanic: a callback panicked.
	CausePanic
	// CauseProtocol: the peer broke the protocol (RFC 6455, RFC 7692); closed with 1002 or 1007.
	CauseProtocol
	// CauseReadLimit: a message was longer than Options.ReadLimit; closed with 1009.
	CauseReadLimit
	// CauseMessageRate: messages came faster than Options.MessageRate; closed with 1008.
	CauseMessageRate
	// CauseMessageTimeout: a message took longer than Options.MessageTimeout; closed with 1008.
	CauseMessageTimeout
	// CauseWriteTimeout: the peer accepted no byte for Options.WriteTimeout; cut.
	CauseWriteTimeout
	// CausePingTimeout: the peer was silent for Options.PingInterval and Options.PongTimeout; cut.
	CausePingTimeout
	// CauseShutdown: Server.Shutdown closed it with 1001, or cut it when its time was over.
	CauseShutdown
	// CauseServerClosed: Server.Close cut it.
	CauseServerClosed
	// CauseSlowConsumer: the peer was further behind on a topic than Options.TopicBytes or TopicMessages; closed with 1013.
	CauseSlowConsumer
)

var causeNames = [...]string{
	CausePeerClosed:     "peer closed",
	CausePeerGone:       "peer gone",
	CauseClosed:         "closed",
	CauseCallback:       "callback error",
	CausePanic:          "callback panic",
	CauseProtocol:       "protocol violation",
	CauseReadLimit:      "read limit",
	CauseMessageRate:    "message rate",
	CauseMessageTimeout: "message timeout",
	CauseWriteTimeout:   "write timeout",
	CausePingTimeout:    "ping timeout",
	CauseShutdown:       "shutdown",
	CauseServerClosed:   "server closed",
	CauseSlowConsumer:   "slow consumer",
}

// String returns the cause in words, such as "peer closed".
func (c Cause) String() string {
	if c > 0 && int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("Cause(%d)", int(c))
}

// CloseInfo says how a connection ended.
type CloseInfo struct {
	// Code is the code of the close frame that was sent or received first: 1005 if that had no code, 1006 if no close
	// frame was exchanged. After a failure it is the code of ours, 1006 if that was not written.
	Code StatusCode
	// Reason is the reason in the same close frame, "" for none.
	Reason string
	// Cause says who ended the connection, and why.
	Cause Cause
	// Opened says that OnConnect had accepted the connection: it returned nil.
	Opened bool
	// Err says what went wrong. It is nil for a clean close: both close frames were exchanged, and every queued
	// message was written.
	Err error
}

// Errors of Server and Conn. They may be wrapped: use [errors.Is].
var (
	// ErrServerClosed is matched by the cause of a connection's context if Shutdown or Close ended it. Publish, PublishSeq
	// and Broadcast return it after those have returned.
	ErrServerClosed = errors.New("hail: server closed")
	// ErrConnClosed is returned by Conn's methods once the connection is closing or closed.
	ErrConnClosed = errors.New("hail: connection closed")
	// ErrQueueFull is returned by Conn.TrySend if Options.SendQueue has no room for the message, by Conn.Send if it had
	// none for Options.WriteTimeout, and by both for a message that is larger than SendQueue.
	ErrQueueFull = errors.New("hail: send queue full")
)

// PanicError is the error of a callback that panicked.
type PanicError struct {
	Value any    // the value that the callback panicked with
	Stack []byte // the stack of its goroutine, as [runtime/debug.Stack] prints it
}

// Error returns a text with the panic's value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("hail: callback panicked: %v", e.Value) }

// Unwrap returns the panic's value if that is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// endError is the error of a connection that ends: the cause of its context, and Send's.
type endError struct {
	conn *Conn
	info CloseInfo
}

func (e *endError) Error() string {
	s := fmt.Sprintf("%v: %v (%d)", ErrConnClosed, e.info.Cause, e.info.Code)
	if e.info.Err != nil {
		s += ": " + e.info.Err.Error()
	}
	return s
}

func (e *endError) Is(target error) bool {
	switch target {
	case ErrConnClosed:
		return true
	case ErrServerClosed:
		return e.info.Cause == CauseShutdown || e.info.Cause == CauseServerClosed
	}
	return false
}

func (e *endError) Unwrap() []error {
	errs := []error{CloseError{Code: e.info.Code, Reason: e.info.Reason}}
	if e.info.Err != nil {
		errs = append(errs, e.info.Err)
	}
	return errs
}

// isEndOf reports whether err comes from the end of c itself.
func isEndOf(c *Conn, err error) bool {
	for err != nil {
		if end, ok := err.(*endError); ok {
			return end.conn == c
		}
		err = errors.Unwrap(err) // not a joined error: its other parts are the callback's own
	}
	return false
}

// chosenClose finds the CloseError that a callback returned. A CloseError in the error of another connection's end
// was not chosen for this one.
func chosenClose(err error) (CloseError, bool) {
	switch e := err.(type) {
	case CloseError:
		return e, true
	case *CloseError:
		if e != nil {
			return *e, true
		}
	case *endError:
	case interface{ Unwrap() error }:
		return chosenClose(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if chosen, ok := chosenClose(err); ok {
				return chosen, true
			}
		}
	}
	return CloseError{}, false
}
