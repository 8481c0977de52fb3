package conformance_test

// The opening handshake, field by field (RFC 6455 sections 4.2 and 9.1), over net/http's own parser.

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// legal is a handshake, field by field.
var legal = []string{
	"GET /chat HTTP/1.1",
	"Host: server.example.com",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	"Sec-WebSocket-Version: 13",
}

// with returns the legal handshake with other lines in place of the one that begins with the name. A name
// that no line begins with adds them.
func with(name string, lines ...string) string {
	var all []string
	for _, line := range legal {
		if !strings.HasPrefix(line, name) {
			all = append(all, line)
		} else {
			all, lines = append(all, lines...), nil
		}
	}
	return strings.Join(append(all, lines...), "\r\n") + "\r\n\r\n"
}

// exchange sends a handshake to a server and returns the response.
func exchange(t *testing.T, server *hail.Server, request string) (*http.Response, string) {
	t.Helper()
	answer := hailtest.Exchange(t, server, request)
	method, _, _ := strings.Cut(request, " ")
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer %q: %v", answer, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("answer %q: %v", answer, err)
	}
	return r, string(body)
}

// accepted checks that the response is a server's handshake (section 4.2.2), and returns its header.
func accepted(t *testing.T, server *hail.Server, request string) http.Header {
	t.Helper()
	r, body := exchange(t, server, request)
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got status %d %q, want 101", r.StatusCode, body)
	}
	if r.Proto != "HTTP/1.1" || !slices.Equal(r.Header["Upgrade"], []string{"websocket"}) || !slices.Equal(r.Header["Connection"], []string{"Upgrade"}) {
		t.Errorf("got %s and header %v, want HTTP/1.1, Upgrade: websocket and Connection: Upgrade", r.Proto, r.Header)
	}
	if got, want := r.Header["Sec-Websocket-Accept"], []string{acceptFor("dGhlIHNhbXBsZSBub25jZQ==")}; !slices.Equal(got, want) {
		t.Errorf("Sec-WebSocket-Accept: got %q, want %q", got, want)
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Sec-Websocket-Version"} {
		if got := r.Header.Values(name); got != nil || body != "" {
			t.Errorf("got %s: %q and body %q, want neither", name, got, body)
		}
	}
	return r.Header
}

func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// refused checks that the response is an HTTP error, and the last bytes of the connection.
func refused(t *testing.T, server *hail.Server, request string, status int) http.Header {
	t.Helper()
	r, body := exchange(t, server, request)
	if r.StatusCode != status {
		t.Errorf("got status %d %q, want %d", r.StatusCode, body, status)
	}
	if !r.Close {
		t.Errorf("got a connection that stays open for the next request, header %v", r.Header)
	}
	return r.Header
}

// TestHandshakeRequest sends handshakes with each part missing, doubled, wrong and in other spellings.
func TestHandshakeRequest(t *testing.T) {
	t.Parallel()
	const ok = http.StatusSwitchingProtocols
	type requests map[string]struct {
		request string
		status  int
	}
	run := func(t *testing.T, list requests) {
		t.Parallel()
		for name, tt := range list {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server, _ := echo(hail.Options{Compression: true, Subprotocols: []string{"chat"}})
				if tt.status == ok {
					accepted(t, server, tt.request)
				} else {
					refused(t, server, tt.request, tt.status)
				}
			})
		}
	}
	shows(t, "4.2.1 request line", func(t *testing.T) {
		run(t, requests{
			"as it should be": {with("x"), ok},
			"HTTP/1.2":        {with("GET", "GET /chat HTTP/1.2"), ok},
			"whole URI":       {with("GET", "GET http://server.example.com/chat HTTP/1.1"), ok},
			"query":           {with("GET", "GET /chat?a=%00 HTTP/1.1"), ok},
			"HTTP/1.0":        {with("GET", "GET /chat HTTP/1.0"), 505},
			"HTTP/2.0":        {with("GET", "GET /chat HTTP/2.0"), 505},
			"HTTP/0.9":        {with("GET", "GET /chat HTTP/0.9"), 505},
			"no version":      {with("GET", "GET /chat"), 400},
			"POST":            {with("GET", "POST /chat HTTP/1.1"), 405},
			"HEAD":            {with("GET", "HEAD /chat HTTP/1.1"), 405},
			"CONNECT":         {with("GET", "CONNECT /chat HTTP/1.1"), 405},
			"get":             {with("GET", "get /chat HTTP/1.1"), 405},
			"no URI":          {with("GET", "GET  HTTP/1.1"), 400},
			"not a path":      {with("GET", "GET chat HTTP/1.1"), 400},
			"whole https URI": {with("GET", "GET https://server.example.com/chat HTTP/1.1"), ok},
			"whole ws URI":    {with("GET", "GET ws://server.example.com/chat HTTP/1.1"), 400},
			"opaque URI":      {with("GET", "GET http:chat HTTP/1.1"), 400},
			"no host in it":   {with("GET", "GET http:///chat HTTP/1.1"), 400},
			"asterisk":        {with("GET", "GET * HTTP/1.1"), 400},
			"authority":       {with("GET", "GET server.example.com:80 HTTP/1.1"), 400},
		})
	})
	shows(t, "4.2.1 Host", func(t *testing.T) {
		run(t, requests{
			"with a port":   {with("Host", "Host: server.example.com:8080"), ok},
			"in other case": {with("Host", "hOST: SERVER.example.com"), ok},
			"missing":       {with("Host"), 400},
			"empty":         {with("Host", "Host:"), 400},
			"twice":         {with("Host", "Host: server.example.com", "Host: server.example.com"), 400},
			"not a host":    {with("Host", "Host: server.example.com/chat{}"), 400},
		})
	})
	shows(t, "4.2.1 Upgrade", func(t *testing.T) {
		run(t, requests{
			"in other case":          {with("Upgrade", "uPGRADE: WebSocket"), ok},
			"white space":            {with("Upgrade", "Upgrade: \t websocket \t"), ok},
			"no white space":         {with("Upgrade", "Upgrade:websocket"), ok},
			"in a list":              {with("Upgrade", "Upgrade: h2c , WEBSOCKET"), ok},
			"on two lines":           {with("Upgrade", "Upgrade: h2c", "Upgrade: websocket"), ok},
			"twice":                  {with("Upgrade", "Upgrade: websocket", "Upgrade: websocket"), ok},
			"missing":                {with("Upgrade"), 426},
			"empty":                  {with("Upgrade", "Upgrade:"), 426},
			"something else":         {with("Upgrade", "Upgrade: h2c"), 426},
			"with a version":         {with("Upgrade", "Upgrade: websocket/13"), 426},
			"a part":                 {with("Upgrade", "Upgrade: websocke"), 426},
			"more":                   {with("Upgrade", "Upgrade: websockets"), 426},
			"with a long s":          {with("Upgrade", "Upgrade: web\u017focket"), 426},
			"with a Kelvin sign":     {with("Upgrade", "Upgrade: websoc\u212aet"), 426},
			"other white space":      {with("Upgrade", "Upgrade: \u00a0websocket\u2003"), 426},
			"space before the colon": {with("Upgrade", "Upgrade : websocket"), 400},
		})
	})
	shows(t, "4.2.1 Connection", func(t *testing.T) {
		run(t, requests{
			"in other case":     {with("Connection", "connection: upGRADE"), ok},
			"in a list":         {with("Connection", "Connection: keep-alive,Upgrade"), ok},
			"on two lines":      {with("Connection", "Connection: keep-alive", "Connection: upgrade"), ok},
			"twice":             {with("Connection", "Connection: Upgrade, Upgrade"), ok},
			"beside close":      {with("Connection", "Connection: close, Upgrade"), ok},
			"missing":           {with("Connection"), 426},
			"empty":             {with("Connection", "Connection: ,"), 426},
			"something else":    {with("Connection", "Connection: keep-alive"), 426},
			"a part":            {with("Connection", "Connection: Up grade"), 426},
			"other white space": {with("Connection", "Connection: \u0085Upgrade"), 426},
		})
	})
	shows(t, "4.2.1 Sec-WebSocket-Key", func(t *testing.T) {
		const name = "Sec-WebSocket-Key"
		run(t, requests{
			"in other case":    {with(name, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), ok},
			"white space":      {with(name, name+": \t dGhlIHNhbXBsZSBub25jZQ== \t"), ok},
			"missing":          {with(name), 400},
			"empty":            {with(name, name+":"), 400},
			"twice":            {with(name, name+": dGhlIHNhbXBsZSBub25jZQ==", name+": dGhlIHNhbXBsZSBub25jZQ=="), 400},
			"two in a list":    {with(name, name+": dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="), 400},
			"15 bytes":         {with(name, name+": AAAAAAAAAAAAAAAAAAAA"), 400},
			"17 bytes":         {with(name, name+": AAAAAAAAAAAAAAAAAAAAAAA="), 400},
			"no padding":       {with(name, name+": dGhlIHNhbXBsZSBub25jZQ"), 400},
			"more padding":     {with(name, name+": dGhlIHNhbXBsZSBub25jZQ===="), 400},
			"not base64":       {with(name, name+": the sample nonce"), 400},
			"base64 for URLs":  {with(name, name+": __-_IHNhbXBsZSBub25jZQ=="), 400},
			"space in between": {with(name, name+": dGhlIHNhbXBs ZSBub25jZQ=="), 400},
		})
	})
	shows(t, "4.2.1 Sec-WebSocket-Version", func(t *testing.T) {
		const name = "Sec-WebSocket-Version"
		run(t, requests{
			"in other case": {with(name, "SEC-WEBSOCKET-VERSION: 13"), ok},
			"white space":   {with(name, name+":\t13 "), ok},
			"missing":       {with(name), 426},
			"empty":         {with(name, name+":"), 426},
			"twice":         {with(name, name+": 13", name+": 13"), 426},
			"8":             {with(name, name+": 8"), 426},
			"12":            {with(name, name+": 12"), 426},
			"14":            {with(name, name+": 14"), 426},
			"in a list":     {with(name, name+": 13, 8"), 426},
			"leading zero":  {with(name, name+": 013"), 426},
			"not a number":  {with(name, name+": thirteen"), 426},
		})
	})
	shows(t, "4.2.1 Sec-WebSocket-Protocol", func(t *testing.T) {
		const name = "Sec-WebSocket-Protocol"
		run(t, requests{
			"a list":           {with(name, name+": chat, superchat"), ok},
			"in other case":    {with(name, "sEC-wEBsOCKET-pROTOCOL: a;b"), 400},
			"two lines":        {with(name, name+": superchat", name+": chat"), ok},
			"empty elements":   {with(name, name+": ,superchat,, chat,"), ok},
			"nothing":          {with(name, name+":"), 400},
			"only commas":      {with(name, name+": ,,"), 400},
			"not a token":      {with(name, name+": chat, super/chat"), 400},
			"two words":        {with(name, name+": super chat"), 400},
			"quoted":           {with(name, name+`: "chat"`), 400},
			"not ASCII":        {with(name, name+": ch\u00e4t"), 400},
			"wrong in line 2":  {with(name, name+": chat", name+": a;b"), 400},
			"with a parameter": {with(name, name+": chat; v=1"), 400},
		})
	})
	shows(t, "9.1 Sec-WebSocket-Extensions", func(t *testing.T) {
		const name = "Sec-WebSocket-Extensions"
		run(t, requests{
			"a list":             {with(name, name+": foo, bar; baz=2"), ok},
			"in other case":      {with(name, "sEC-wEBsOCKET-eXTENSIONS: ;"), 400},
			"two lines":          {with(name, name+": foo", name+": bar; baz=2"), ok},
			"quoted value":       {with(name, name+`: foo; bar="b\a\z"`), ok},
			"nothing":            {with(name, name+":"), 400},
			"no name":            {with(name, name+": ; a=1"), 400},
			"no parameter":       {with(name, name+": foo;"), 400},
			"no value":           {with(name, name+": foo; a="), 400},
			"empty value":        {with(name, name+`: foo; a=""`), 400},
			"value is no token":  {with(name, name+`: foo; a="1 2"`), 400},
			"open quote":         {with(name, name+`: foo; a="1`), 400},
			"two words":          {with(name, name+": permessage deflate"), 400},
			"not ASCII":          {with(name, name+": f\u00f6o"), 400},
			"wrong in line 2":    {with(name, name+": permessage-deflate", name+": a=b"), 400},
			"wrong after a good": {with(name, name+": permessage-deflate, foo; ="), 400},
		})
	})
	shows(t, "4.2.1 other fields", func(t *testing.T) {
		run(t, requests{
			"unknown":           {with("x", "X-Unknown: \x80\xff", "Cookie: a=b; c", "Authorization: Basic eDp5"), ok},
			"order":             {strings.Join(slices.Concat(legal[:1], reversed(legal[1:])), "\r\n") + "\r\n\r\n", ok},
			"lines without CR":  {strings.ReplaceAll(with("x"), "\r", ""), ok},
			"field name absent": {with("x", ": x"), 400},
			"field is no field": {with("x", "Upgrade websocket"), 400},
			"NUL":               {with("x", "X-Unknown: \x00"), 400},
		})
	})
	shows(t, "4.2.1 no body", func(t *testing.T) {
		run(t, requests{
			"Content-Length: 0":  {with("x", "Content-Length: 0"), ok},
			"Content-Length: 5":  {with("x", "Content-Length: 5") + "hello", 400},
			"chunked":            {with("x", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400},
			"chunked and length": {with("x", "Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", 400},
			"two lengths":        {with("x", "Content-Length: 0", "Content-Length: 5") + "hello", 400},
			"Expect":             {with("x", "Expect: 100-continue", "Content-Length: 5"), 400},
		})
	})
	shows(t, "4.2.2 nothing after a refused handshake is read as a request", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{})
		refused(t, server, with("Upgrade")+with("x"), 426)
	})
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// TestHandshakeAnswer checks a server's response.
func TestHandshakeAnswer(t *testing.T) {
	t.Parallel()
	shows(t, "4.2.2 versions", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{})
		for _, version := range []string{"8", "14", "99"} {
			h := refused(t, server, with("Sec-WebSocket-Version", "Sec-WebSocket-Version: "+version), 426)
			if got := h["Sec-Websocket-Version"]; !slices.Equal(got, []string{"13"}) {
				t.Errorf("version %s: got Sec-WebSocket-Version %q, want 13", version, got)
			}
		}
	})
	shows(t, "4.2.2 origin", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{})
		refused(t, server, with("x", "Origin: http://elsewhere.example"), 403)
		accepted(t, server, with("x", "Origin: http://server.example.com"))
	})
	shows(t, "4.2.2 accept key", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{})
		// The example of section 1.3.
		if got := accepted(t, server, with("x")).Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("got %q, want the accept key of the RFC's example", got)
		}
	})
	shows(t, "4.2.2 subprotocol", func(t *testing.T) {
		t.Parallel()
		for offer, want := range map[string]string{
			"":                  "",
			"chat":              "chat",
			"v2, chat":          "v2",
			"chat, v2":          "chat",
			"unknown":           "",
			"unknown ,v2":       "v2",
			"CHAT":              "",
			"chat.more, a-chat": "",
		} {
			server, _ := echo(hail.Options{Subprotocols: []string{"v2", "chat"}})
			lines := []string{"Sec-WebSocket-Protocol: " + offer}
			if offer == "" {
				lines = nil
			}
			h := accepted(t, server, with("x", lines...))
			if got, present := h["Sec-Websocket-Protocol"]; present != (want != "") || present && !slices.Equal(got, []string{want}) {
				t.Errorf("offer %q: got Sec-WebSocket-Protocol %q, want %q", offer, got, want)
			}
		}
	})
	shows(t, "4.2.2 extensions", func(t *testing.T) {
		t.Parallel()
		for _, offer := range []string{"foo", "foo; bar, x-webkit-deflate-frame", "permessage-deflate"} {
			server, _ := echo(hail.Options{})
			h := accepted(t, server, with("x", "Sec-WebSocket-Extensions: "+offer))
			if got, present := h["Sec-Websocket-Extensions"]; present {
				t.Errorf("offer %q: got Sec-WebSocket-Extensions %q, want none", offer, got)
			}
		}
	})
	shows(t, "4.2.2 first frame in the handshake's packet", func(t *testing.T) {
		t.Parallel()
		all := frames(text("early"), control(hailtest.OpPing, ""), bye)
		for name, opts := range map[string][]hailtest.Option{"memory": nil, "tcp": {hailtest.TCP()}, "tls": {hailtest.TLS(nil)}} {
			for early := range len(all) + 1 {
				server, _ := echo(hail.Options{})
				p := hailtest.Dial(t, server, "/", append(opts, hailtest.Raw(), hailtest.EarlyData(all[:early]))...)
				p.Write(all[early:])
				got, pongs := apart([]string{show(p.ReadFrame()), show(p.ReadFrame()), show(p.ReadFrame())})
				if want := []string{`text "early"`, closed}; !slices.Equal(got, want) || !slices.Equal(pongs, []string{`pong ""`}) {
					t.Errorf("%s, %d bytes early: got %q and %q, want %q and an empty pong", name, early, got, pongs, want)
				}
			}
		}
	})
}
