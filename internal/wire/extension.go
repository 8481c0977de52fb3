package wire

// The extensions that a client offers (RFC 6455 section 9.1), and the response to an offer of
// permessage-deflate (RFC 7692 section 7.1).

import (
	"slices"
	"strconv"
	"strings"
)

// MaxWindow is the largest window of permessage-deflate in bytes. compress/flate uses no other.
const MaxWindow = 1 << maxWindowBits

const (
	minWindowBits = 8
	maxWindowBits = 15
)

// maxParts is how many parts a list header may have. A part that came in two bytes costs forty.
const maxParts = 100

// Extension is one offer of Sec-WebSocket-Extensions.
type Extension struct {
	Name   string
	Params []Param
}

// Param is a parameter of an extension.
type Param struct {
	Name, Value string // a quoted value without its quotes
	HasValue    bool
}

// ParseExtensions reads the values of a request's Sec-WebSocket-Extensions, and reports whether they
// conform to the grammar and are not too many. No values are no offers.
func ParseExtensions(values []string) (offers []Extension, ok bool) {
	parts := 0
	for _, v := range values {
		s := scanner{rest: v}
		for !s.end() {
			if s.skip(',') {
				continue // a list may have empty elements (RFC 2616 section 2.1), but not only those
			}
			offer, ok := s.extension()
			parts += 1 + len(offer.Params)
			if !ok || !s.end() && !s.skip(',') || parts > maxParts {
				return nil, false
			}
			offers = append(offers, offer)
		}
	}
	return offers, len(offers) > 0 || len(values) == 0
}

// AcceptDeflate accepts the first offer of permessage-deflate that can be honoured, and returns the value of the
// response's Sec-WebSocket-Extensions. Each message is compressed by itself, in both directions.
func AcceptDeflate(offers []Extension) (response string, ok bool) {
	for _, offer := range offers {
		if offer.Name != "permessage-deflate" {
			continue
		}
		if response, ok := acceptDeflate(offer.Params); ok {
			return response, true
		}
	}
	return "", false
}

// acceptDeflate declines parameters that are unknown, repeated, or wrong (RFC 7692 section 7), and a window that
// compress/flate cannot keep to.
func acceptDeflate(params []Param) (response string, ok bool) {
	response = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	for i, p := range params {
		bits, legal := windowBits(p.Value)
		switch p.Name {
		case "server_no_context_takeover", "client_no_context_takeover":
			legal = !p.HasValue
		case "server_max_window_bits":
			legal = legal && bits == maxWindowBits
			response += "; server_max_window_bits=" + strconv.Itoa(bits)
		case "client_max_window_bits":
			// Any window of the client's can be inflated.
			legal = legal || !p.HasValue
		default:
			return "", false
		}
		if !legal || slices.ContainsFunc(params[:i], func(q Param) bool { return q.Name == p.Name }) {
			return "", false
		}
	}
	return response, true
}

// windowBits reads a decimal number from 8 to 15 without leading zeros.
func windowBits(s string) (bits int, ok bool) {
	bits, err := strconv.Atoi(s)
	if err != nil || bits < minWindowBits || bits > maxWindowBits || s != strconv.Itoa(bits) {
		return 0, false
	}
	return bits, true
}

// ParseTokens reads a list header of tokens, and reports whether it conforms to the grammar (RFC 2616 section 2.1) and is not too long.
// No values are no tokens.
func ParseTokens(values []string) (tokens []string, ok bool) {
	for _, v := range values {
		s := scanner{rest: v}
		for !s.end() {
			if s.skip(',') {
				continue
			}
			token := s.token()
			if token == "" || !s.end() && !s.skip(',') || len(tokens) == maxParts {
				return nil, false
			}
			tokens = append(tokens, token)
		}
	}
	return tokens, len(tokens) > 0 || len(values) == 0
}

// IsToken reports whether s is a token (RFC 9110 section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func tokenByte(c byte) bool {
	return c > ' ' && c < 0x7F && strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) < 0
}

// scanner reads the parts of a header's value. It skips white space between them.
type scanner struct{ rest string }

// end reports whether nothing but white space is left.
func (s *scanner) end() bool {
	s.rest = strings.TrimLeft(s.rest, " \t")
	return s.rest == ""
}

// skip skips the separator c, and reports whether it was next.
func (s *scanner) skip(c byte) bool {
	if s.end() || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// token reads a token, "" if none is next.
func (s *scanner) token() string {
	s.end()
	n := 0
	for n < len(s.rest) && tokenByte(s.rest[n]) {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token
}

// extension reads a name and its parameters.
func (s *scanner) extension() (e Extension, ok bool) {
	e.Name = s.token()
	for e.Name != "" && s.skip(';') {
		p := Param{Name: s.token()}
		if p.HasValue = s.skip('='); p.HasValue {
			p.Value = s.value()
		}
		if p.Name == "" || p.HasValue && p.Value == "" || len(e.Params) == maxParts {
			return e, false
		}
		e.Params = append(e.Params, p)
	}
	return e, e.Name != ""
}

// value reads a token or a quoted string with a token in it, "" if neither is next.
func (s *scanner) value() string {
	if !s.skip('"') {
		return s.token()
	}
	var value []byte
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.rest = s.rest[i+1:]
			if IsToken(string(value)) {
				return string(value)
			}
			return ""
		case '\\':
			if i++; i == len(s.rest) {
				return ""
			}
			fallthrough
		default:
			value = append(value, s.rest[i])
		}
	}
	return ""
}
