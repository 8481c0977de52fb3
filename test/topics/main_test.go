// Package topics_test holds the promises of topics: who gets which message, in which order, and what slow consumers cost.
package topics_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
