package admit

// The check of a request's handshake (RFC 6455 section 4.2.1).

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"example.com/hail/internal/wire"
)

// Check returns why the request cannot be upgraded, or nil if it can.
func (rules *Rules) Check(r *http.Request) *Refusal {
	if refusal := checkRequest(r); refusal != nil {
		return refusal
	}
	if refusal := checkHeaders(r); refusal != nil {
		return refusal
	}
	if !rules.allowOrigin(r) {
		refusal := refuse(http.StatusForbidden, "pages of this origin may not connect")
		refusal.Detail = fmt.Sprintf("Origin %q is not that of Host %q; Options.Origins can allow it",
			Clip(strings.Join(r.Header["Origin"], ", ")), Clip(r.Host))
		return refusal
	}
	return nil
}

// Subprotocol returns the first subprotocol that the client offers and the server speaks, "" for none.
func (rules *Rules) Subprotocol(r *http.Request) string {
	if len(rules.subprotocols) == 0 {
		return ""
	}
	for _, v := range r.Header["Sec-Websocket-Protocol"] {
		for offered := range strings.SplitSeq(v, ",") {
			if i := slices.Index(rules.subprotocols, textproto.TrimString(offered)); i >= 0 {
				return rules.subprotocols[i] // not a substring of the header, which the connection would keep in memory
			}
		}
	}
	return ""
}

// checkRequest checks that the request asks for a WebSocket connection.
func checkRequest(r *http.Request) *Refusal {
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		refusal := refuse(http.StatusHTTPVersionNotSupported, "a WebSocket handshake needs HTTP/1.1, this is "+r.Proto)
		refusal.Detail = r.Proto + ": serve this handler over HTTP/1.1 (http.Server.Protocols, or the proxy in front)"
		return refusal
	case r.Method != http.MethodGet:
		refusal := refuse(http.StatusMethodNotAllowed, "a WebSocket handshake is a GET request")
		refusal.Header = http.Header{"Allow": {http.MethodGet}}
		return refusal
	case !isTarget(r.RequestURI):
		return refuse(http.StatusBadRequest, "a WebSocket handshake asks for a path, or a whole http or https URI")
	case !hasToken(r.Header["Connection"], "upgrade"), !hasToken(r.Header["Upgrade"], "websocket"):
		refusal := upgradeRequired("this is a WebSocket endpoint: connect with a WebSocket client")
		refusal.Detail = "no Connection: Upgrade with Upgrade: websocket; a proxy in front may have dropped them"
		return refusal
	}
	return nil
}

// checkHeaders checks the handshake's own headers.
func checkHeaders(r *http.Request) *Refusal {
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		refusal := upgradeRequired("only version 13 of the WebSocket protocol is spoken here")
		refusal.Header["Sec-WebSocket-Version"] = []string{"13"}
		return refusal
	}
	if r.Host == "" {
		return refuse(http.StatusBadRequest, "a WebSocket handshake has a Host")
	}
	if v := r.Header["Sec-Websocket-Key"]; len(v) != 1 || !isKey(v[0]) {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be there once, 16 bytes in base64")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		// The body would be read as frames.
		return refuse(http.StatusBadRequest, "a WebSocket handshake has no body")
	}
	if _, ok := wire.ParseTokens(r.Header["Sec-Websocket-Protocol"]); !ok {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Protocol must be a list of tokens, and not too many")
	}
	if _, ok := wire.ParseExtensions(r.Header["Sec-Websocket-Extensions"]); !ok {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Extensions is malformed (RFC 6455 section 9.1), or too long a list")
	}
	return nil
}

// upgradeRequired returns a 426, which names the protocol that the request must upgrade to (RFC 9110 section 15.5.22).
func upgradeRequired(text string) *Refusal {
	refusal := refuse(http.StatusUpgradeRequired, text)
	refusal.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	return refusal
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
	// The decoder skips line breaks, so the length of the text is checked too.
	return err == nil && len(key) == 16 && len(s) == base64.StdEncoding.EncodedLen(16)
}

// hasToken reports whether the list header has the token, in any case of ASCII.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			t = textproto.TrimString(t)
			// A letter outside ASCII that EqualFold equates with one inside, such as the long s, has more bytes.
			if len(t) == len(token) && strings.EqualFold(t, token) {
				return true
			}
		}
	}
	return false
}
