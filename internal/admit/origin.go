package admit

// The check of a page's origin (RFC 6455 section 10.2, RFC 6454).

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"
)

// origin is a parsed origin, in lower case. The port is the scheme's default if none is given.
type origin struct{ scheme, host, port string }

const letters = "abcdefghijklmnopqrstuvwxyz"

var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}

// parseOrigin reads an origin as browsers write it: scheme, host and port only.
func parseOrigin(s string) (origin, bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.ContainsFunc(s, notASCII) {
		return origin{}, false
	}
	scheme = strings.ToLower(scheme)
	if strings.Trim(scheme, letters+"0123456789+-.") != "" || !strings.Contains(letters, scheme[:1]) {
		return origin{}, false
	}
	host, port, ok := splitHost(rest)
	return origin{scheme, host, cmp.Or(port, defaultPorts[scheme])}, ok
}

// notASCII matches runes that no browser sends. Some would become ASCII in lower case.
func notASCII(r rune) bool { return r > unicode.MaxASCII }

// splitHost splits a host and its optional port, in lower case. It reports whether a browser or a
// pattern may spell them so.
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

// pattern is one parsed element of Options.Origins. An empty scheme matches any.
type pattern struct {
	origin
	all, null bool
}

func parsePattern(s string) (pattern, error) {
	switch s {
	case "*":
		return pattern{all: true}, nil
	case "null":
		return pattern{null: true}, nil
	}
	if strings.Contains(s, "://") {
		o, ok := parseOrigin(s)
		if !ok {
			return pattern{}, fmt.Errorf("%q is not scheme://host or scheme://host:port", s)
		}
		return pattern{origin: o}, nil
	}
	host, port, ok := splitHost(s)
	if !ok {
		return pattern{}, fmt.Errorf("%q is not a host, host:port or origin", s)
	}
	return pattern{origin: origin{host: host, port: port}}, nil
}

func (p pattern) matches(o origin) bool {
	port := p.port
	if p.scheme == "" && port == "" {
		port = defaultPorts[o.scheme]
	}
	return (p.scheme == "" || p.scheme == o.scheme) &&
		(port == "*" || port == o.port) && matchHost(p.host, o.host)
}

// matchHost reports whether a pattern matches a host. An asterisk matches any run of characters. An IPv6 address is compared as it is.
func matchHost(pattern, host string) bool {
	if strings.HasPrefix(pattern, "[") {
		return pattern == host
	}
	// The alphabet of both was checked: neither has another character that is special to path.Match.
	ok, err := path.Match(pattern, host)
	return ok && err == nil
}

// allowOrigin reports whether the request's origin, if it has one, may connect.
func (rules *Rules) allowOrigin(r *http.Request) bool {
	values, present := r.Header["Origin"]
	if !present {
		return true
	}
	for _, p := range rules.origins {
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
	for _, p := range rules.origins {
		if !p.all && !p.null && p.matches(o) {
			return true
		}
	}
	return false
}

// sameHost reports whether a web page's origin is the host that the request was sent to.
func sameHost(o origin, requestHost string) bool {
	defaultPort, web := defaultPorts[o.scheme]
	host, port, ok := splitHost(requestHost)
	return web && ok && host == o.host && cmp.Or(port, defaultPort) == o.port
}
