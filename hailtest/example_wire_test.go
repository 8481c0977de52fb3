package hailtest_test

import (
	"fmt"
	"strings"

	"example.com/hail/hailtest"
)

func ExampleHandshake() {
	runTest(func(t hailtest.TB) {
		resp := hailtest.Handshake(t, newShouter(), "/ws", hailtest.Origin("https://elsewhere.example"))
		fmt.Println(resp.Status)
	})
	// Output: 403 Forbidden
}

func ExampleExchange() {
	runTest(func(t hailtest.TB) {
		answer := hailtest.Exchange(t, newShouter(), "GET /ws HTTP/1.1\r\nHost: example.com\r\n\r\n")
		status, _, _ := strings.Cut(answer, "\r\n")
		fmt.Println(status)
	})
	// Output: HTTP/1.1 426 Upgrade Required
}

// An illegal frame, an unmasked one, and the server's answer.
func ExampleRaw() {
	runTest(func(t hailtest.TB) {
		p := hailtest.Dial(t, newShouter(), "/ws", hailtest.Raw())
		fmt.Println(p.ReadFrame())
		p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("hi"), Unmasked: true}.Bytes())
		fmt.Println(p.ReadFrame().CloseError().Code)
	})
	// Output:
	// text FIN, "hello"
	// StatusProtocolError
}
