//go:build !race

package hostile_test

// scale divides the large numbers of tests.
const scale = 1
