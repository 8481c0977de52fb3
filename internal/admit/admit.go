// Package admit decides whether a request may become a connection: it checks the handshake, the origin, and the limits on
// connections. It opens no connection, logs nothing, and counts nothing except connections.
package admit

import (
	"fmt"
	"net/http"
	"slices"

	"example.com/hail/internal/wire"
)

// Rules say which requests may become connections. They are immutable.
type Rules struct {
	origins      []pattern
	subprotocols []string
}

// NewRules reads Options.Origins and Options.Subprotocols. Its error names the malformed option and what is wrong with it.
func NewRules(origins, subprotocols []string) (*Rules, error) {
	rules := &Rules{subprotocols: slices.Clone(subprotocols)}
	for i, s := range origins {
		p, err := parsePattern(s)
		if err != nil {
			return nil, fmt.Errorf("Options.Origins[%d]: %w", i, err)
		}
		rules.origins = append(rules.origins, p)
	}
	for i, s := range subprotocols {
		if !wire.IsToken(s) {
			return nil, fmt.Errorf("Options.Subprotocols[%d]: %q is not a token of RFC 9110 section 5.6.2", i, s)
		}
	}
	return rules, nil
}

// Refusal is the response to a request that is not upgraded.
type Refusal struct {
	Status int
	Text   string      // for the client: a sentence without anything internal
	Detail string      // for the log
	Header http.Header // additional fields
}

// refuse returns a Refusal whose detail is its text.
func refuse(status int, text string) *Refusal {
	return &Refusal{Status: status, Text: text, Detail: text}
}

// Write answers the request with the refusal.
func (f *Refusal) Write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.ProtoMajor == 1 {
		// Bytes that a client sent after its handshake must not be read as a request.
		h.Set("Connection", "close")
	}
	for name, values := range f.Header {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	http.Error(w, f.Text, f.Status)
}

// Clip shortens text from a client to fit into a log line.
func Clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
