package hail

// Which pages may connect (RFC 6455 section 10.2, RFC 6454).

import (
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"
)

// webOrigin is an origin in its parts, in lower case; the port is the scheme's own where none is given.
type webOrigin struct{ scheme, host, port string }

const letters = "abcdefghijklmnopqrstuvwxyz"

var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}

// parseOrigin reads an origin as browsers write it: scheme, host and port, and nothing else.
func parseOrigin(s string) (webOrigin, bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.ContainsFunc(s, notASCII) {
		return webOrigin{}, false
	}
	scheme = strings.ToLower(scheme)
	if strings.Trim(scheme, letters+"0123456789+-.") != "" || !strings.Contains(letters, scheme[:1]) {
		return webOrigin{}, false
	}
	host, port, ok := splitHost(rest)
	if port == "" {
		port = defaultPorts[scheme]
	}
	return webOrigin{scheme, host, port}, ok
}

// notASCII finds what no browser sends; some of it would become ASCII in lower case.
func notASCII(r rune) bool { return r > unicode.MaxASCII }

// splitHost splits a host and its optional port, in lower case, and reports whether they are
// spelled as a browser or a pattern may.
func splitHost(s string) (host, port string, ok bool) {
	if strings.ContainsFunc(s, notASCII) {
		return "", "", false
	}
	s = strings.ToLower(s)
	host = s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		if port == "" || port != "*" && strings.Trim(port, "0123456789") != "" {
			return "", "", false
		}
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
		return host, port, bracketed && strings.Trim(inner, "0123456789abcdef:.") == "" && inner != ""
	}
	return host, port, host != "" && strings.Trim(host, letters+"0123456789-._*") == ""
}

// originPattern is one of Options.Origins in its parts. An empty scheme matches any.
type originPattern struct {
	webOrigin
	all, null bool
}

func parseOriginPattern(s string) (originPattern, error) {
	switch s {
	case "*":
		return originPattern{all: true}, nil
	case "null":
		return originPattern{null: true}, nil
	}
	if strings.Contains(s, "://") {
		o, ok := parseOrigin(s)
		if !ok {
			return originPattern{}, fmt.Errorf("%q is not scheme://host or scheme://host:port", s)
		}
		return originPattern{webOrigin: o}, nil
	}
	host, port, ok := splitHost(s)
	if !ok {
		return originPattern{}, fmt.Errorf("%q is not a host, host:port or origin", s)
	}
	return originPattern{webOrigin: webOrigin{host: host, port: port}}, nil
}

func (p originPattern) matches(o webOrigin) bool {
	port := p.port
	if p.scheme == "" && port == "" {
		port = defaultPorts[o.scheme]
	}
	return (p.scheme == "" || p.scheme == o.scheme) &&
		(port == "*" || port == o.port) && matchHost(p.host, o.host)
}

// matchHost matches an asterisk with any run of characters. An IPv6 address has no pattern.
func matchHost(pattern, host string) bool {
	if strings.HasPrefix(pattern, "[") {
		return pattern == host
	}
	// The alphabet of both was checked: there is nothing in them that path.Match treats otherwise.
	ok, err := path.Match(pattern, host)
	return ok && err == nil
}

// originAllowed reports whether the request's origin, if it has one, may connect.
func originAllowed(r *http.Request, patterns []originPattern) bool {
	values, present := r.Header["Origin"]
	if !present {
		return true
	}
	for _, p := range patterns {
		if p.all || p.null && len(values) == 1 && values[0] == "null" {
			return true
		}
	}
	if len(values) != 1 || strings.Contains(values[0], "*") {
		return false
	}
	o, ok := parseOrigin(values[0])
	if !ok {
		return false
	}
	if sameHost(o, r.Host) {
		return true
	}
	for _, p := range patterns {
		if !p.all && !p.null && p.matches(o) {
			return true
		}
	}
	return false
}

// sameHost reports whether a web page's origin is the host that the request was sent to.
func sameHost(o webOrigin, requestHost string) bool {
	defaultPort, web := defaultPorts[o.scheme]
	host, port, ok := splitHost(requestHost)
	or(&port, defaultPort)
	return web && ok && host == o.host && port == o.port
}
