//go:build !hailfault

package link

// countBuffers does nothing but where Buffers is asked for: see count.go.
func countBuffers(int64) {}

// Buffers returns 0.
func Buffers() int64 { return 0 }
