//go:build hailfault

package link

// The number of buffers in use, for tests that look for one that was not freed.

import "sync/atomic"

var inUse atomic.Int64

// countBuffers adds n to the number of buffers in use.
func countBuffers(n int64) { inUse.Add(n) }

// Buffers returns how many buffers are in use.
func Buffers() int64 { return inUse.Load() }
