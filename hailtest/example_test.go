package hailtest_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"example.com/hail"
	"example.com/hail/hailtest"
)

// newShouter returns the server under test: it greets and answers in capitals.
func newShouter() *hail.Server {
	return &hail.Server{
		Options: hail.Options{Logger: slog.New(slog.DiscardHandler)},
		Handler: hail.Handler{
			OnConnect: hail.Greet(hail.Text("hello")),
			OnMessage: func(c *hail.Conn, m hail.Message) error {
				if m.Type != hail.MessageText {
					return hail.CloseError{Code: hail.StatusUnsupportedData, Reason: "text only"}
				}
				return c.Send(hail.Text(strings.ToUpper(m.String())))
			},
		},
	}
}

// testShouter is the body of a test:
//
//	func TestShouter(t *testing.T) { testShouter(t) }
func testShouter(t hailtest.TB) {
	p := hailtest.Dial(t, newShouter(), "/ws")
	if got := p.Receive(); got.String() != "hello" {
		t.Errorf("got greeting %q, want hello", got)
	}
	p.Send(hail.Text("is anybody there?"))
	fmt.Println(p.Receive())

	p.Send(hail.Binary([]byte{1}))
	if got := p.WaitClose(); got.Code != hail.StatusUnsupportedData {
		t.Errorf("got close code %d, want %d", got.Code, hail.StatusUnsupportedData)
	}
	fmt.Println(p.WaitClose().Reason)
}

func Example() {
	runTest(testShouter)
	// Output:
	// IS ANYBODY THERE?
	// text only
}

// example is the TB of an Example, which has no testing.T: it prints failures.
type example struct{ cleanups []func() }

func (*example) Helper()                           {}
func (t *example) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }
func (*example) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (t *example) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// runTest runs test on a goroutine of its own, which Fatalf may end, and then its cleanups.
func runTest(test func(t hailtest.TB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := &example{}
		defer func() {
			for i := len(t.cleanups) - 1; i >= 0; i-- {
				t.cleanups[i]()
			}
		}()
		test(t)
	}()
	<-done
}
