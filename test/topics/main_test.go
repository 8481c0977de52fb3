// Package topics_test checks the promises of topics: the subscribers of each message, the order, and the cost of slow consumers.
package topics_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
