// Package mount_test mounts a server as any http.Handler: handshakes over net/http, origins, ResponseWriters, HTTP/2, another client.
package mount_test

import (
	"testing"

	"example.com/hail/hailtest"
)

func TestMain(m *testing.M) { hailtest.Main(m) }
