package conformance_test

// The closing handshake (RFC 6455 sections 5.5.1, 7.1 and 7.4).

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// closing is a server that closes with the code and the reason when a message arrives.
func closing(code hail.StatusCode, reason string) (*hail.Server, <-chan hail.CloseInfo) {
	server, ends := echo(hail.Options{})
	server.OnMessage = func(c *hail.Conn, _ hail.Message) error { c.Close(code, reason); return nil }
	return server, ends
}

func TestCloseHandshake(t *testing.T) {
	t.Parallel()
	// meet runs a conversation with a server that closes with 4001, in a bubble. It returns the frames that
	// arrived and the time until the server ended the connection.
	meet := func(t *testing.T, before, after []byte) (got []string, took time.Duration, info hail.CloseInfo) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			server, ends := closing(4001, "enough")
			p := hailtest.Dial(t, server, "/", hailtest.Raw())
			p.Write(frames(text("close")))
			p.Write(before)
			r := bufio.NewReader(p.NetConn())
			for {
				f, err := readFrame(r)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
				if got = append(got, show(f)); f.Opcode == hailtest.OpClose && after != nil {
					p.Write(after)
				}
				if f.Opcode == hailtest.OpClose {
					begin := time.Now()
					defer func() { took = time.Since(begin) }()
				}
			}
			info = <-ends
		})
		return got, took, info
	}
	ours := []string{"close 4001 enough"}
	check := func(t *testing.T, got []string, took, wantTook time.Duration, info hail.CloseInfo, clean bool) {
		t.Helper()
		if !slices.Equal(got, ours) {
			t.Errorf("got %q, want %q", got, ours)
		}
		if took < wantTook || took > wantTook+2*time.Second {
			t.Errorf("the connection ended %v after the close frame, want %v", took, wantTook)
		}
		if info.Code != 4001 || info.Reason != "enough" || info.Cause != hail.CauseClosed || (info.Err == nil) != clean {
			t.Errorf("OnClose: got %+v, want 4001, enough, closed, an error: %v", info, !clean)
		}
	}
	shows(t, "7.1.2 started by the server", func(t *testing.T) {
		t.Parallel()
		for name, answer := range map[string]hailtest.Frame{
			"the same code": hailtest.CloseFrame(4001, ""), "no code": closeWith(""), "another code": bye,
		} {
			t.Run(name, func(t *testing.T) {
				got, took, info := meet(t, nil, answer.Bytes())
				check(t, got, took, 0, info, true)
			})
		}
	})
	shows(t, "5.5.1 both at once", func(t *testing.T) {
		t.Parallel()
		// The client's close frame is on its way when the server sends its own.
		got, took, info := meet(t, bye.Bytes(), nil)
		check(t, got, took, 0, info, true)
	})
	shows(t, "5.5.1 frames between the server's close frame and the client's", func(t *testing.T) {
		t.Parallel()
		for name, between := range map[string][]byte{
			"messages":           frames(text("late"), bin(make([]byte, 100_000)), fragments(hailtest.OpText, "la", "te")[0]),
			"pings and pongs":    frames(control(hailtest.OpPing, "late"), control(hailtest.OpPong, "")),
			"illegal ones":       frames(hailtest.Frame{Fin: true, RSV3: true, Opcode: 5, Payload: []byte("x")}, text("\xff")),
			"one over the limit": frames(bin(make([]byte, 1<<20))),
		} {
			t.Run(name, func(t *testing.T) {
				got, took, info := meet(t, nil, append(between, bye.Bytes()...))
				check(t, got, took, 0, info, true)
			})
		}
	})
	shows(t, "7.1.1 a client that does not answer", func(t *testing.T) {
		t.Parallel()
		got, took, info := meet(t, nil, nil)
		check(t, got, took, 5*time.Second, info, false)
	})
	shows(t, "7.1.1 the server closes the TCP connection first, and at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, _ := echo(hail.Options{})
			p := hailtest.Dial(t, server, "/", hailtest.Raw())
			begin := time.Now()
			p.Write(bye.Bytes())
			all, err := io.ReadAll(p.NetConn()) // to the server's FIN; ours is not sent
			if took := time.Since(begin); err != nil || string(all) != "\x88\x02\x03\xe8" || took != 0 {
				t.Errorf("got % x, %v after %v, want one close frame with 1000 and the end at once", all, err, took)
			}
		})
	})
	shows(t, "7.1.7 nothing is processed after a failure", func(t *testing.T) {
		t.Parallel()
		messages := make(chan string, 10)
		server, ends := echo(hail.Options{})
		server.OnMessage = func(_ *hail.Conn, m hail.Message) error { messages <- m.String(); return nil }
		p := hailtest.Dial(t, server, "/", hailtest.Raw())
		got := converse(t, p, frames(text("before"), hailtest.Frame{Fin: true, Opcode: 3}, text("after"), control(hailtest.OpPing, ""), bye))
		if want := []string{closeProtocol}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if info := kit.Await(t, "OnClose", ends, kit.Ample); info.Code != hail.StatusProtocolError || info.Err == nil {
			t.Errorf("OnClose: got %+v, want 1002 and an error", info)
		}
		if close(messages); len(messages) != 1 || <-messages != "before" {
			t.Errorf("OnMessage was called %d times, want only with what came before", len(messages))
		}
	})
	shows(t, "7.1.7 the close frame of a failure is sent whatever follows", func(t *testing.T) {
		t.Parallel()
		for name, after := range map[string][]byte{
			"a close frame":                   frames(bye),
			"a close frame of one byte":       frames(closeWith("\x03")),
			"a close frame with a wrong code": frames(closeWith("\x00\x00")),
			"a close frame that is not UTF-8": frames(closeWith("\x03\xe8\xff")),
			"another failure":                 frames(text("\xff"), bye),
			"half a frame":                    frames(text("hello"))[:3],
			"nothing":                         nil,
		} {
			t.Run(name, script{send: append(frames(text("\xff")), after...), want: []string{closeUTF8}, cause: hail.CauseProtocol}.play)
		}
	})
	shows(t, "7.1.7 the client's close frame is read after a failure", func(t *testing.T) {
		t.Parallel()
		long := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("hello"), LengthSize: 8}
		for name, list := range map[string][]hailtest.Frame{
			"not UTF-8":                         {text("\xff"), bye},
			"not UTF-8, in fragments":           append(fragments(hailtest.OpText, "\xff", "a"), bye),
			"over the limit":                    {bin(make([]byte, 2000)), bye},
			"over the limit, in fragments":      append(fragments(hailtest.OpBinary, "a", strings.Repeat("b", 2000)), bye),
			"a longer length":                   {long, bye},
			"broken":                            append(deflated("\xff\xff\xff"), bye),
			"with messages between":             {text("\xff"), text("late"), control(hailtest.OpPing, "late"), bye},
			"a close frame that is wrong, too":  {text("\xff"), closeWith("\x03")},
			"over the limit, compressed, whole": append(deflated(strings.Repeat("\xff", 10_000)), bye),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, ends := echo(hail.Options{Compression: true, ReadLimit: 1000})
					p := hailtest.Dial(t, server, "/", hailtest.Raw(), hailtest.BufferSize(1<<20), hailtest.Header("Sec-WebSocket-Extensions", offer))
					begin := time.Now()
					p.Write(frames(list...))
					all, err := io.ReadAll(p.NetConn())
					if took := time.Since(begin); err != nil || len(all) < 4 || all[0] != 0x88 || took != 0 {
						t.Errorf("got %q, %v and the end after %v, want a close frame and the end at once", all, err, took)
					}
					if info := <-ends; info.Err == nil || info.Code == hail.StatusNormalClosure {
						t.Errorf("OnClose: got %+v, want an error, and the code that the server closed with", info)
					}
				})
			})
		}
	})
	shows(t, "7.1.7 a client that does not answer a failure", func(t *testing.T) {
		t.Parallel()
		unmasked := text("unmasked")
		unmasked.Unmasked = true
		const timeout = 5 * time.Second
		for name, tt := range map[string]struct {
			send hailtest.Frame
			took time.Duration // from the failure to the server's end of its direction
		}{
			// The server cannot know where the close frame begins.
			"unknown opcode":  {hailtest.Frame{Fin: true, Opcode: 3}, 0},
			"reserved bit":    {hailtest.Frame{Fin: true, RSV2: true, Opcode: hailtest.OpText}, 0},
			"unmasked":        {unmasked, 0},
			"top bit set":     {hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Length: 1 << 63}, 0},
			"wrong close":     {closeWith("\x03"), 0},
			"not UTF-8":       {text("\xff"), timeout},
			"over the limit":  {hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: 1 << 40}, timeout},
			"a longer length": {hailtest.Frame{Fin: true, Opcode: hailtest.OpText, LengthSize: 8}, timeout},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, ends := echo(hail.Options{CloseTimeout: timeout})
					p := hailtest.Dial(t, server, "/", hailtest.Raw())
					begin := time.Now()
					p.Write(tt.send.Bytes())
					all, err := io.ReadAll(p.NetConn())
					took := time.Since(begin)
					if err != nil || len(all) < 4 || all[0] != 0x88 || took < tt.took || took > tt.took+2*time.Second || tt.took == 0 && took > 0 {
						t.Errorf("got %q, %v and the end after %v, want a close frame and the end after %v", all, err, took, tt.took)
					}
					if info := <-ends; time.Since(begin) > timeout+2*time.Second {
						t.Errorf("OnClose was told %+v after %v, want it after at most %v", info, time.Since(begin), timeout)
					}
				})
			})
		}
	})
	shows(t, "7.1.5 the code that OnClose is told", func(t *testing.T) {
		t.Parallel()
		for name, tt := range map[string]struct {
			send []byte
			want hail.CloseInfo
		}{
			"code and reason": {frames(hailtest.CloseFrame(4002, "why")), hail.CloseInfo{Code: 4002, Reason: "why"}},
			"no code":         {frames(closeWith("")), hail.CloseInfo{Code: hail.StatusNoStatusRcvd}},
			"no close frame":  {frames(text("a")), hail.CloseInfo{Code: hail.StatusAbnormalClosure}},
			"half of one":     {frames(bye)[:7], hail.CloseInfo{Code: hail.StatusAbnormalClosure}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server, ends := echo(hail.Options{})
				p := hailtest.Dial(t, server, "/", hailtest.Raw())
				p.Write(tt.send)
				p.CloseWrite()
				if info := kit.Await(t, "OnClose", ends, kit.Ample); info.Code != tt.want.Code || info.Reason != tt.want.Reason {
					t.Errorf("got %d %q, want %d %q", info.Code, info.Reason, tt.want.Code, tt.want.Reason)
				}
			})
		}
	})
	shows(t, "7.4.1 codes that are never sent", func(t *testing.T) {
		t.Parallel()
		for _, code := range codes {
			may := legalCode(code) || code == 1005 // a close frame without a code
			for name, server := range map[string]*hail.Server{
				"Close": {Handler: hail.Handler{OnMessage: func(c *hail.Conn, _ hail.Message) error {
					if err := c.Close(hail.StatusCode(code), ""); (err == nil) != may {
						t.Errorf("Close with %d: got %v, want an error: %v", code, err, !may)
					}
					return nil
				}}},
				"error": {Handler: hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return hail.CloseError{Code: hail.StatusCode(code)} }}},
			} {
				server.OnConnect = func(*hail.Conn, *http.Request) error { return nil }
				server.OnError = func(*hail.Conn, error) {}
				p := hailtest.Dial(t, server, "/", hailtest.Raw())
				got := converse(t, p, frames(text("close"), bye))
				want := fmt.Sprintf("close %d ", code)
				if !may {
					want = "close 1011 "
				}
				if len(got) != 1 || !strings.HasPrefix(got[0], want) {
					t.Errorf("%s with %d: got %q, want %q", name, code, got, want)
				}
			}
		}
	})
	shows(t, "5.5.1 reasons are cut, and UTF-8", func(t *testing.T) {
		t.Parallel()
		for reason, want := range map[string]string{
			strings.Repeat("x", 123):      strings.Repeat("x", 123),
			strings.Repeat("x", 124):      strings.Repeat("x", 123),
			strings.Repeat("\u4f60", 100): strings.Repeat("\u4f60", 41),
			"a\xffb":                      "a?b",
		} {
			server, _ := closing(4001, reason)
			p := hailtest.Dial(t, server, "/", hailtest.Raw())
			if got := converse(t, p, frames(text("close"), bye)); !slices.Equal(got, []string{"close 4001 " + want}) {
				t.Errorf("reason %q: got %q, want %q", reason, got, want)
			}
		}
	})
	shows(t, "5.5.1 no data after the server's close frame", func(t *testing.T) {
		t.Parallel()
		server, ends := echo(hail.Options{})
		server.OnMessage = func(c *hail.Conn, _ hail.Message) error {
			c.Send(hail.Text("before"))
			c.Close(4001, "")
			if err := c.Send(hail.Text("after")); !errors.Is(err, hail.ErrConnClosed) {
				t.Errorf("Send after Close: got %v, want %v", err, hail.ErrConnClosed)
			}
			return nil
		}
		p := hailtest.Dial(t, server, "/", hailtest.Raw())
		if got, want := converse(t, p, frames(text("close"), bye)), []string{`text "before"`, "close 4001 "}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		kit.Await(t, "OnClose", ends, kit.Ample)
	})
}
