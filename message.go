package hail

// Messages, and the callbacks that need no code.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/coder/websocket"

	"example.com/hail/internal/wire"
)

// MessageType says whether a message is text or binary. It is the protocol engine's type.
type MessageType = websocket.MessageType

const (
	// MessageText is the type of a message that is UTF-8 text (RFC 6455 section 5.6).
	MessageText = websocket.MessageText
	// MessageBinary is the type of a message of any bytes (RFC 6455 section 5.6).
	MessageBinary = websocket.MessageBinary
)

// Message is one whole message, in however many frames it arrived.
type Message struct {
	// Type is MessageText or MessageBinary. A message of another type cannot be sent.
	Type MessageType
	// Data is the payload. In OnMessage it belongs to the callback, which may keep and change it,
	// unless Options.ReuseBuffers is set: then it is valid until the callback returns.
	// Text must be valid UTF-8 to be sent; text that arrives is.
	Data []byte
}

// Text returns a text message.
func Text(s string) Message { return Message{MessageText, []byte(s)} }

// Binary returns a binary message. It does not copy b: do not change it before the message is sent.
func Binary(b []byte) Message { return Message{MessageBinary, b} }

// JSON returns a text message of v, encoded as [json.Marshal] does.
func JSON(v any) (Message, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Message{}, fmt.Errorf("hail: encode message: %w", err)
	}
	return Message{MessageText, data}, nil
}

// String returns the payload as a string.
func (m Message) String() string { return string(m.Data) }

// JSON decodes the payload into v. Its errors are those of [json.Unmarshal].
func (m Message) JSON(v any) error { return json.Unmarshal(m.Data, v) }

// first returns the first byte of m's frame, or what is wrong with m.
func (m Message) first() (byte, error) {
	switch m.Type {
	case MessageText:
		if !utf8.Valid(m.Data) {
			return 0, errors.New("hail: text message is not valid UTF-8")
		}
		return wire.Fin | wire.Text, nil
	case MessageBinary:
		return wire.Fin | wire.Binary, nil
	}
	return 0, fmt.Errorf("hail: message type %d is neither MessageText nor MessageBinary", m.Type)
}

// The texts of a Server that has neither OnConnect nor OnMessage.
const (
	// DefaultGreeting is sent to each new connection if Handler.OnConnect and OnMessage are nil.
	DefaultGreeting = "something"
	// DefaultReply is sent for each message if Handler.OnConnect and OnMessage are nil.
	DefaultReply = "something123"
)

// Greet returns an OnConnect callback that sends m, whose data may not be changed afterwards.
func Greet(m Message) func(*Conn, *http.Request) error {
	return func(c *Conn, _ *http.Request) error { return c.Send(m) }
}

// Reply returns an OnMessage callback that sends m for each message; its data may not be changed afterwards.
func Reply(m Message) func(*Conn, Message) error {
	return func(c *Conn, _ Message) error { return c.Send(m) }
}

// Echo is an OnMessage callback that sends each message back.
func Echo(c *Conn, m Message) error { return c.Send(m) }
