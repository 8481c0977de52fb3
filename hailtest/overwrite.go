package hailtest

// Overwrite: makes the misuse of reused buffers visible.

import "example.com/hail"

// Overwrite returns h with an OnMessage that overwrites m.Data with 0xAA after h's has returned. A
// callback that wrongly keeps the bytes while [hail.Options] ReuseBuffers is set then keeps garbage, so a
// test that compares them fails every time. A nil OnMessage stays nil.
//
// Without ReuseBuffers the callback may keep m.Data, and Overwrite would break it.
func Overwrite(h hail.Handler) hail.Handler {
	onMessage := h.OnMessage
	if onMessage == nil {
		return h
	}
	h.OnMessage = func(c *hail.Conn, m hail.Message) error {
		defer func() {
			for i := range m.Data {
				m.Data[i] = 0xAA
			}
		}()
		return onMessage(c, m)
	}
	return h
}
