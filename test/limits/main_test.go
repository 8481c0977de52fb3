// Package limits_test checks the bound of each option: admission, received messages, queues and timeouts.
package limits_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
