package hostile_test

// The memory of the system for peers that accept no data.

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

// It is little, while the system's default would be megabytes, and is freed soon after the connection.
func TestPeersThatNeverReadAreForgottenByTheSystem(t *testing.T) {
	kit.Long(t)
	const (
		conns        = 10 / scale
		each         = 512 << 10 // bytes, at the most: half of them not yet on their way
		writeTimeout = time.Second
	)
	for _, kind := range []string{"epoll", "tls", multipath} { // the server sees the socket
		t.Run(kind, func(t *testing.T) {
			tg := serve(t, kind, hail.Handler{
				OnConnect: func(c *hail.Conn, _ *http.Request) error {
					for c.Send(hail.Binary(make([]byte, 64<<10))) == nil {
					}
					return nil
				},
			}, hail.Options{WriteTimeout: writeTimeout})
			tg.crowd(t, conns)
			most := 0
			looked := time.Time{}
			kit.Until(t, "the system holds what it will", func() bool {
				held := unsent(t, tg.addr) // of multipath: the bytes of one of its paths
				if held > most {
					most, looked = held, time.Now()
				}
				return most > 0 && time.Since(looked) > writeTimeout/4
			})
			if most > conns*each {
				t.Errorf("the system holds %d bytes for %d connections, want at most %d", most, conns, conns*each)
			}
			tg.ends(t, conns, hail.CauseWriteTimeout)
			start := time.Now()
			kit.Until(t, "the system has given it back", func() bool { return unsent(t, tg.addr) == 0 })
			if took := time.Since(start); took > 5*writeTimeout {
				t.Errorf("given back after %v, want at most %v", took, 5*writeTimeout)
			}
		})
	}
}

// unsent returns how many bytes the system holds that were written on the connections of a server.
func unsent(t *testing.T, addr string) int {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	from := fmt.Sprintf(":%04X", n)
	total := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// sl local_address rem_address st tx_queue:rx_queue ...
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasSuffix(fields[1], from) {
			continue
		}
		queue, _, _ := strings.Cut(fields[4], ":")
		held, err := strconv.ParseUint(queue, 16, 32)
		if err != nil {
			t.Fatalf("%q: %v", fields[4], err)
		}
		total += int(held)
	}
	return total
}
