package gin111_test

import (
	"testing"

	"github.com/gin-gonic/gin"

	"example.com/hail/hailtest"
	"example.com/hail/test/mount/frameworks/internal/ginmount"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

func TestGin(t *testing.T) {
	t.Parallel()
	if got, want := gin.Version, "v1.11.0"; got != want {
		t.Fatalf("gin: got %s, want %s", got, want)
	}
	rig.Run(t, ginmount.Framework())
}
