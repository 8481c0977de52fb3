// Package hailtest tests WebSocket servers: hail's and any other [net/http.Handler].
//
// [Dial] runs a handler in a real HTTP server over memory and returns a connected [Peer]:
//
//	func TestEcho(t *testing.T) {
//		p := hailtest.Dial(t, &hail.Server{Handler: hail.Handler{OnMessage: hail.Echo}}, "/ws")
//		p.Send(hail.Text("hi"))
//		if got := p.Receive(); got.String() != "hi" {
//			t.Errorf("got %q, want %q", got, "hi")
//		}
//		p.Close(hail.StatusNormalClosure, "")
//	}
//
// There is nothing to close: the test's cleanups end the connection, the server and every goroutine.
//
// # Bad peers
//
// A peer can stall ([Peer.Stall]), read slowly ([Peer.ReadSlowly]), vanish without a FIN
// ([Peer.Vanish]), send an RST ([Peer.Reset]) or half-close ([Peer.CloseWrite]). [Peer.Write] and
// [Peer.WriteSplit] send any bytes. [Frame] builds legal and illegal frames. With the option [Raw] the
// test reads frames itself. [Handshake] and [Exchange] return the response of a server that refuses.
//
// # Time
//
// Over memory a test may run in a [testing/synctest] bubble. Half a minute of heartbeats then passes at once:
//
//	synctest.Test(t, func(t *testing.T) {
//		p := hailtest.Dial(t, server, "/ws", hailtest.Timeout(time.Hour))
//		p.Vanish()
//		info := <-closed // sent by server's OnClose, after PingInterval and PongTimeout
//		...
//	})
//
// A bubble's time stands still after its test has returned. Goroutines of the server that then wait for a timer
// make synctest panic. Close a server whose connections wait for a timer.
//
// # Transports
//
// The same test runs over memory, TCP, TLS and compressed by its options:
//
//	for name, opts := range map[string][]hailtest.Option{
//		"memory":     nil,
//		"tcp":        {hailtest.TCP()},
//		"tls":        {hailtest.TCP(), hailtest.TLS(nil)},
//		"compressed": {hailtest.Compression()},
//	} {
//		t.Run(name, func(t *testing.T) { testEcho(t, opts...) })
//	}
//
// [DialURL] connects to a running server.
//
// # Leaks
//
// [Main] in a package's TestMain and [NoLeaks] in a test fail if goroutines are left.
package hailtest
