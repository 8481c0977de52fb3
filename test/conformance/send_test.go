package conformance_test

// A server's frames (RFC 6455 sections 5.1, 5.2, 6.1 and 8.1), over TLS too.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestSending(t *testing.T) {
	t.Parallel()
	shows(t, "6.1 messages in frames of their type", func(t *testing.T) {
		t.Parallel()
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 200_000} {
			for opcode, kind := range map[byte]hail.MessageType{1: hail.MessageText, 2: hail.MessageBinary} {
				data := bytes.Repeat([]byte("x"), size)
				server, _ := echo(hail.Options{})
				server.OnConnect = func(c *hail.Conn, _ *http.Request) error {
					return c.Send(hail.Message{Type: kind, Data: data})
				}
				// A legal frame: FIN, no reserved bit, no mask, the fewest bytes for the length.
				want := []byte{0x80 | opcode}
				switch {
				case size <= 125:
					want = append(want, byte(size))
				case size <= 65535:
					want = binary.BigEndian.AppendUint16(append(want, 126), uint16(size))
				default:
					want = binary.BigEndian.AppendUint64(append(want, 127), uint64(size))
				}
				want = append(append(want, data...), "\x88\x02\x03\xe8"...)
				_, got, _ := bytes.Cut(allOf(t, server, with("x")+string(bye.Bytes())), []byte("\r\n\r\n"))
				if !bytes.Equal(got, want) {
					t.Errorf("%v of %d bytes: got % .20x (%d bytes), want % .20x (%d bytes)", kind, size, got, len(got), want, len(want))
				}
			}
		}
	})
	shows(t, "8.1 text that is not UTF-8 is not sent", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{})
		server.OnMessage = func(c *hail.Conn, m hail.Message) error {
			if err := c.Send(hail.Message{Type: hail.MessageText, Data: m.Data}); err == nil {
				t.Errorf("Send of text % x: got nil, want an error", m.Data)
			}
			return nil
		}
		var b []byte
		for _, s := range invalidTexts {
			b = append(b, bin([]byte(s)).Bytes()...)
		}
		p := hailtest.Dial(t, server, "/", hailtest.Raw())
		if got := converse(t, p, append(b, bye.Bytes()...)); !slices.Equal(got, []string{closed}) {
			t.Errorf("got %q, want only the close", got)
		}
	})
	shows(t, "10.6 over TLS", func(t *testing.T) {
		t.Parallel()
		for name, opts := range map[string][]hailtest.Option{"memory": {hailtest.TLS(nil)}, "tcp": {hailtest.TCP(), hailtest.TLS(nil)}} {
			server, _ := echo(hail.Options{})
			p := hailtest.Dial(t, server, "/", opts...)
			p.Send(hail.Text("hello"))
			if got := p.Receive().String(); got != "hello" {
				t.Errorf("%s: got %q, want hello", name, got)
			}
			if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
				t.Errorf("%s: got close %d, want 1000", name, got.Code)
			}
		}
	})
	shows(t, "11.3 no field of the answer twice", func(t *testing.T) {
		t.Parallel()
		server, _ := echo(hail.Options{Compression: true, Subprotocols: []string{"chat"}})
		fields := []string{"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Upgrade", "Connection"}
		front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range fields {
				w.Header()[name] = []string{"from", "in front"} // in the RFC's case, not net/http's
				w.Header()[http.CanonicalHeaderKey(name)] = []string{"from", "in front"}
			}
			server.ServeHTTP(w, r)
		})
		answer := hailtest.Exchange(t, front, with("x", "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: "+offer))
		for _, name := range fields {
			if n := strings.Count(strings.ToLower(answer), strings.ToLower("\n"+name+":")); n != 1 || strings.Contains(answer, "in front") {
				t.Errorf("%s: got it %d times, want once and the server's own:\n%s", name, n, answer)
			}
		}
	})
}

// allOf sends b to a server and returns all bytes that it sends until it ends the connection.
func allOf(t *testing.T, handler http.Handler, b string) []byte {
	t.Helper()
	conn := connect(t, handler)
	fmt.Fprint(conn, b)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("got %d bytes, then %v", len(all), err)
	}
	return all
}
