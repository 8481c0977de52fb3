package hail

// Requests that do not become a connection (RFC 6455 section 4.2.1).

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"example.com/hail/internal/wire"
)

const levelRefused = slog.LevelWarn

// refusal is the answer to a request that is not upgraded.
type refusal struct {
	status int
	text   string      // for the client: a sentence without anything internal
	detail string      // for the log
	header http.Header // besides the usual
}

// checkRequest says why a request cannot be upgraded, nil where it can.
func (s *Server) checkRequest(r *http.Request) *refusal {
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return &refusal{status: http.StatusHTTPVersionNotSupported,
			text:   "a WebSocket handshake needs HTTP/1.1, this is " + r.Proto,
			detail: r.Proto + ": serve this handler over HTTP/1.1 (http.Server.Protocols, or the proxy in front)"}
	case r.Method != http.MethodGet:
		return &refusal{status: http.StatusMethodNotAllowed, text: "a WebSocket handshake is a GET request",
			header: http.Header{"Allow": {http.MethodGet}}}
	case !isTarget(r.RequestURI):
		return &refusal{status: http.StatusBadRequest, text: "a WebSocket handshake asks for a path, or a whole http or https URI"}
	case !hasToken(r.Header["Connection"], "upgrade"), !hasToken(r.Header["Upgrade"], "websocket"):
		return &refusal{status: http.StatusUpgradeRequired, text: "this is a WebSocket endpoint: connect with a WebSocket client",
			detail: "no Connection: Upgrade with Upgrade: websocket; a proxy in front may have dropped them", header: upgradeHeader()}
	}
	if refusal := checkKeys(r); refusal != nil {
		return refusal
	}
	if !originAllowed(r, s.origins) {
		return &refusal{status: http.StatusForbidden, text: "pages of this origin may not connect",
			detail: fmt.Sprintf("Origin %q is not that of Host %q; Options.Origins can allow it",
				clip(strings.Join(r.Header["Origin"], ", ")), clip(r.Host))}
	}
	return nil
}

// checkKeys looks at the headers that are the handshake's own.
func checkKeys(r *http.Request) *refusal {
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		refusal := &refusal{status: http.StatusUpgradeRequired, text: "only version 13 of the WebSocket protocol is spoken here",
			header: upgradeHeader()}
		refusal.header["Sec-WebSocket-Version"] = []string{"13"}
		return refusal
	}
	if r.Host == "" {
		return &refusal{status: http.StatusBadRequest, text: "a WebSocket handshake has a Host"}
	}
	if len(r.Header["Sec-Websocket-Key"]) != 1 || !isKey(r.Header.Get("Sec-WebSocket-Key")) {
		return &refusal{status: http.StatusBadRequest, text: "Sec-WebSocket-Key must be there once, 16 bytes in base64"}
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		// What follows would be taken for frames.
		return &refusal{status: http.StatusBadRequest, text: "a WebSocket handshake has no body"}
	}
	if _, ok := wire.ParseTokens(r.Header["Sec-Websocket-Protocol"]); !ok {
		return &refusal{status: http.StatusBadRequest, text: "Sec-WebSocket-Protocol must be a list of tokens, and not too many"}
	}
	if _, ok := wire.ParseExtensions(r.Header["Sec-Websocket-Extensions"]); !ok {
		return &refusal{status: http.StatusBadRequest, text: "Sec-WebSocket-Extensions is malformed (RFC 6455 section 9.1), or too long a list"}
	}
	return nil
}

// isTarget reports whether a handshake may have this request target. A request that was not read from a connection has none.
func isTarget(s string) bool {
	if s == "" || s[0] == '/' {
		return true
	}
	u, err := url.ParseRequestURI(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isKey(s string) bool {
	key, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(key) == 16
}

// hasToken reports whether the list header has the token, in any case of ASCII.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			t = textproto.TrimString(t)
			// What EqualFold takes for an ASCII letter and is none, such as the long s, is longer.
			if len(t) == len(token) && strings.EqualFold(t, token) {
				return true
			}
		}
	}
	return false
}

// chooseSubprotocol returns the first that the client offers and the server speaks, "" for none.
func (s *Server) chooseSubprotocol(r *http.Request) string {
	if len(s.options.Subprotocols) == 0 {
		return ""
	}
	for _, v := range r.Header["Sec-Websocket-Protocol"] {
		for offered := range strings.SplitSeq(v, ",") {
			if i := slices.Index(s.options.Subprotocols, textproto.TrimString(offered)); i >= 0 {
				return s.options.Subprotocols[i] // not a part of the header, which would stay with the connection
			}
		}
	}
	return ""
}

// upgradeHeader is what a 426 says (RFC 9110 section 15.5.22).
func upgradeHeader() http.Header {
	return http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
}

// notHijackable is the answer where w keeps its connection.
func notHijackable(w http.ResponseWriter, err error) *refusal {
	hint := "middleware in front hides http.Hijacker: give its ResponseWriter an Unwrap method, or mount hail outside it"
	if !errors.Is(err, http.ErrNotSupported) {
		hint = err.Error()
	}
	return &refusal{status: http.StatusNotImplemented, text: "this server cannot upgrade connections here",
		detail: fmt.Sprintf("%s cannot be hijacked: %s", writerName(w), hint)}
}

// writerName names the ResponseWriter that is in the way: the first that has a
// Hijack of its own, or the innermost that can be reached.
func writerName(w http.ResponseWriter) string {
	for {
		if _, ok := w.(http.Hijacker); ok {
			break
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	name := fmt.Sprintf("%T", w)
	if name == "*http.timeoutWriter" {
		name += " (http.TimeoutHandler)"
	}
	return name
}

// refuse answers a request that is not upgraded, and logs why.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refusal *refusal) {
	s.stats.refused.Add(1)
	h := w.Header()
	if r.ProtoMajor == 1 {
		// Nothing that a client has sent behind a handshake may be taken for a request.
		h.Set("Connection", "close")
	}
	for name, values := range refusal.header {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	http.Error(w, refusal.text, refusal.status)
	detail := refusal.detail
	or(&detail, refusal.text)
	s.options.Logger.LogAttrs(r.Context(), levelRefused, "hail: handshake refused",
		append(requestAttrs(r, errors.New(detail)), slog.Int("status", refusal.status))...)
}

// requestAttrs describes a request without its query, where tokens travel.
func requestAttrs(r *http.Request, why error) []slog.Attr {
	return []slog.Attr{
		slog.String("path", clip(r.URL.Path)),
		slog.String("remote", r.RemoteAddr),
		slog.String("err", why.Error()),
	}
}

// clip keeps what strangers send short enough for a log line.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
