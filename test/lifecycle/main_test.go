// Package lifecycle_test holds the promises of a connection's life: order, one OnClose, contained errors, ends, heartbeats, many at once.
package lifecycle_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
