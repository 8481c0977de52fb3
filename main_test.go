package hail_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
