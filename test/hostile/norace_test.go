//go:build !race

package hostile_test

// scale divides what a test has a lot of.
const scale = 1
