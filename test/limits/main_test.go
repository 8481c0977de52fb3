// Package limits_test holds each option against its bound: what is let in, what may be received, what may wait, and for how long.
package limits_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
