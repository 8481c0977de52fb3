package lifecycle_test

// Messages that are sent, and the owner of their bytes.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestSendRefusesWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 8)
	s := &hail.Server{Handler: hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
		errs <- c.Send(hail.Message{Data: []byte("no type")})
		errs <- c.Send(hail.Message{Type: 9})
		errs <- c.TrySend(hail.Text("\xff"))
		errs <- c.SendJSON(func() {})
		return c.SendJSON(map[string]int{"n": 1})
	}}}
	p := hailtest.Dial(t, s, "/")
	got := p.Receive()
	var v struct{ N int }
	if err := got.JSON(&v); err != nil || v.N != 1 || got.Type != hail.MessageText {
		t.Errorf("got %v %q, %v, want only the JSON", got.Type, got, err)
	}
	for range 4 {
		if err := <-errs; err == nil || errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("got %v, want an error about the message", err)
		}
	}
}

func TestSendCopies(t *testing.T) {
	t.Parallel()
	s := &hail.Server{Handler: hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
		b := []byte("original")
		err := c.Send(hail.Binary(b))
		copy(b, "xxxxxxxx")
		return err
	}}}
	p := hailtest.Dial(t, s, "/")
	if got := p.Receive().String(); got != "original" {
		t.Errorf("got %q, want the sent bytes", got)
	}
}

func TestDataMayBeKept(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		var kept [][]byte
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				kept = append(kept, m.Data)
				if m.String() == "check" {
					for i, b := range kept[:len(kept)-1] {
						if want := bytes.Repeat([]byte{byte(i)}, 1+i*997); !bytes.Equal(b, want) {
							return fmt.Errorf("message %d has changed", i)
						}
					}
				}
				return nil
			},
		}, Options: hail.Options{Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		for i := range 60 {
			p.Send(hail.Binary(bytes.Repeat([]byte{byte(i)}, 1+i*997)))
		}
		p.Send(hail.Text("check"))
		if got := p.Close(hail.StatusNormalClosure, ""); got.Code != hail.StatusNormalClosure {
			t.Errorf("close: got %v, want 1000", got)
		}
	})
}

func TestReuseBuffers(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hailtest.Overwrite(hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}),
			Options: hail.Options{Compression: true, ReuseBuffers: true},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		for i := range 60 {
			p.Send(hail.Binary(bytes.Repeat([]byte{byte(i)}, 1+i*997)))
		}
		for i := range 60 {
			if got, want := p.Receive().Data, bytes.Repeat([]byte{byte(i)}, 1+i*997); !bytes.Equal(got, want) {
				t.Fatalf("message %d: got %d bytes, want %d of %d", i, len(got), len(want), i)
			}
		}
	})
}

func TestRepliesOfABatchDoNotWaitForASlowCallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &hail.Server{Handler: hail.Handler{
			OnConnect: kit.Accept,
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				if m.String() == "slow" {
					time.Sleep(5 * time.Second)
				}
				return c.Send(m)
			},
		}}
		p := hailtest.Dial(t, s, "/")
		var batch []byte
		for _, text := range []string{"a", "b", "slow", "c"} {
			batch = append(batch, hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte(text)}.Bytes()...)
		}
		start := time.Now()
		p.Write(batch)
		for _, want := range []string{"a", "b"} {
			if got := p.Receive().String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if waited := time.Since(start); waited > 2*time.Millisecond {
			t.Errorf("the first replies took %v, want at most about a millisecond", waited)
		}
		for _, want := range []string{"slow", "c"} {
			if got := p.Receive().String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		p.Close(hail.StatusNormalClosure, "")
	})
}

func TestJSON(t *testing.T) {
	t.Parallel()
	m, err := hail.JSON(map[string]string{"a": "<é>"})
	want, _ := json.Marshal(map[string]string{"a": "<é>"})
	if m.Type != hail.MessageText || !bytes.Equal(m.Data, want) || err != nil {
		t.Errorf("got %v %q, %v, want text %q", m.Type, m, err, want)
	}
	var unsupported *json.UnsupportedTypeError
	if m, err := hail.JSON(func() {}); len(m.Data) != 0 || !errors.As(err, &unsupported) || !strings.HasPrefix(err.Error(), "hail: ") {
		t.Errorf("a function: got %q, %v, want no message and json's error", m, err)
	}
}

func TestConnsServer(t *testing.T) {
	t.Parallel()
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h}
	hailtest.Dial(t, s, "/")
	if got := kit.Await(t, "OnConnect", e.Conns, kit.Ample).Server(); got != s {
		t.Errorf("got %p, want the server of the connection, %p", got, s)
	}
}
