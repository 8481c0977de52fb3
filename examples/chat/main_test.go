package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

// chat is the server with a signal for each nickname that it has read.
type chat struct {
	*hail.Server
	named chan struct{}
}

func newChat() chat {
	ch := chat{newServer(), make(chan struct{}, 10)}
	hear := ch.OnMessage
	ch.OnMessage = func(c *hail.Conn, m hail.Message) error {
		if c.State() == nil {
			defer func() { ch.named <- struct{}{} }()
		}
		return hear(c, m)
	}
	return ch
}

// join dials a room and sends the nickname, which the others in the room get.
func (ch chat) join(t *testing.T, room, name string, others ...*hailtest.Peer) *hailtest.Peer {
	t.Helper()
	p := hailtest.Dial(t, routes(ch), "/ws?room="+room)
	p.Send(hail.Text(name))
	<-ch.named
	for _, other := range others {
		want(t, other, "joined "+name)
	}
	return p
}

func want(t *testing.T, p *hailtest.Peer, text string) {
	t.Helper()
	if got := p.Receive().String(); got != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

func TestTellsTheOthers(t *testing.T) {
	t.Parallel()
	chat := newChat()
	alice := chat.join(t, "tea", "alice")
	bob := chat.join(t, "tea", "bob", alice)
	carol := chat.join(t, "tea", "carol", alice, bob)

	bob.Send(hail.Text("hello"))
	alice.Send(hail.Text("says bob\nnot me"))
	bob.Send(hail.Text(""))
	want(t, alice, "says bob\nhello") // and nothing of her own
	want(t, alice, "says bob\n")
	want(t, bob, "says alice\nsays bob\nnot me")
	heard := []string{carol.Receive().String(), carol.Receive().String(), carol.Receive().String()}
	heard = slices.DeleteFunc(heard, func(s string) bool { return s == "says alice\nsays bob\nnot me" }) // at whatever position
	if want := []string{"says bob\nhello", "says bob\n"}; !slices.Equal(heard, want) {
		t.Errorf("carol hears %q of bob, want %q", heard, want)
	}
}

func TestRoomsAreApart(t *testing.T) {
	t.Parallel()
	chat := newChat()
	alice := chat.join(t, "tea", "alice")
	mallory := chat.join(t, "coffee", "mallory")
	nowhere := chat.join(t, "", "nobody")
	bob := chat.join(t, "tea", "bob", alice)
	bob.Send(hail.Text("tea is ready"))
	want(t, alice, "says bob\ntea is ready")
	chat.join(t, "coffee", "trent", mallory) // and nothing from bob
	chat.join(t, "", "somebody", nowhere)
}

func TestSaysWhoLeft(t *testing.T) {
	t.Parallel()
	chat := newChat()
	alice := chat.join(t, "tea", "alice")
	bob := chat.join(t, "tea", "bob", alice)
	carol := chat.join(t, "tea", "carol", alice, bob)
	nameless := hailtest.Dial(t, routes(chat), "/ws?room=tea")

	nameless.Close(hail.StatusNormalClosure, "")
	bob.Close(hail.StatusNormalClosure, "")
	want(t, alice, "left bob") // and nothing about a connection without a nickname
	want(t, carol, "left bob")
	carol.CloseWrite() // without a close frame
	want(t, alice, "left carol")
}

func TestRefusesLongRoomNames(t *testing.T) {
	t.Parallel()
	chat := newChat()
	failed := make(chan error, 1)
	chat.OnError = func(_ *hail.Conn, err error) { failed <- err }
	p := hailtest.Dial(t, routes(chat), "/ws?room="+strings.Repeat("x", 257))
	if got := p.WaitClose(); got.Code != hail.StatusInternalError {
		t.Errorf("close: got %v, want %v", got, hail.StatusInternalError)
	}
	if err := <-failed; !strings.Contains(err.Error(), "topic name") {
		t.Errorf("OnError: got %v, want the topic's name in it", err)
	}
	if err := chat.Shutdown(t.Context()); err != nil { // returns after the last OnClose
		t.Errorf("Shutdown: got %v, want nil", err)
	}
	if st := chat.Stats(); st.Panics != 0 {
		t.Errorf("%d panics, want none", st.Panics)
	}
	newChat().join(t, strings.Repeat("x", 256), "alice")
}

func TestServesThePage(t *testing.T) {
	t.Parallel()
	handler := routes(newServer())
	for path, want := range map[string]int{"/?room=tea": http.StatusOK, "/elsewhere": http.StatusNotFound} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("GET %s: got status %d, want %d", path, w.Code, want)
		}
		if isPage := w.Body.String() == string(page); isPage != (want == http.StatusOK) {
			t.Errorf("GET %s: got the page: %t", path, isPage)
		}
	}
}

func TestDrains(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, ln) }()

	alice := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws?room=tea")
	alice.Send(hail.Text("alice"))
	bob := hailtest.DialURL(t, "ws://"+ln.Addr().String()+"/ws?room=tea")
	bob.Send(hail.Text("bob"))
	bob.Send(hail.Text("both are here"))
	stop()
	for _, p := range []*hailtest.Peer{alice, bob} {
		if got := p.WaitClose(); got.Code != hail.StatusGoingAway {
			t.Errorf("close: got %v, want %v", got, hail.StatusGoingAway)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: got %v, want nil", err)
	}
}
