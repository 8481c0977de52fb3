//go:build race

package hostile_test

// scale divides the large numbers of tests: the race detector makes them ten times as slow.
const scale = 10
