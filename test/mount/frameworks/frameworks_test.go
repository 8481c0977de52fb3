package frameworks_test

// Every framework, held to the same expectations. What only one of them has is tested in its own file.

import (
	"testing"

	"example.com/hail/hailtest"
	"example.com/hail/test/mount/frameworks/internal/ginmount"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

func TestFrameworks(t *testing.T) {
	t.Parallel()
	for _, f := range []rig.Framework{
		serveMux(),
		stripPrefix(),
		chiRouter(),
		ginmount.Framework(),
		echo4(),
		echo5(),
		gorilla(),
		otel(),
	} {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			rig.Run(t, f)
		})
	}
}
