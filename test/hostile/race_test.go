//go:build race

package hostile_test

// scale divides what a test has a lot of: the race detector makes it ten times as slow.
const scale = 10
