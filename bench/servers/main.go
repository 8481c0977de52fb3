// Command servers is hail and its Go peers as servers to measure: the argument chooses one. Each echoes messages, and
// publishes messages of its own on command.
//
// It prints "listening ADDR" and then answers each line of its input. "usage": its CPU time. "gc": after memory was
// returned to the system. "cycle": the microseconds of a garbage collection in total, stopped, and of CPU. "publish N SIZE
// INTERVAL_US": after the messages were published. "profile cpu SECONDS FILE": at once. It exits when its input ends. BENCH_TLS_CERT, BENCH_TLS_KEY, BENCH_COMPRESS and BENCH_QUEUE are its settings.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the settings of a case, the same for every peer.
type settings struct {
	tls      *tls.Config // nil: plain TCP
	compress bool        // permessage-deflate without context takeover
	queue    int         // published messages that a connection must have room for; 0: it only echoes
}

// peer is a server. It echoes messages of up to 1 MiB.
type peer struct {
	serve   func(net.Listener) error
	publish func(message []byte) // sends to every connection; nil: cannot
}

var peers = map[string]func(settings) peer{
	"hail":        func(s settings) peer { return hailPeer(s, false) },
	"hail-reuse":  func(s settings) peer { return hailPeer(s, true) },
	"gws":         gwsPeer,
	"gorilla":     gorillaPeer,
	"melody":      melodyPeer,
	"coder":       coderPeer,
	"gobwas":      gobwasPeer,
	"floor":       floorPeer,
	"floor-epoll": epollPeer,
}

// readLimit is the longest message of a case.
const readLimit = 1 << 20

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 || peers[os.Args[1]] == nil {
		log.Fatalf("servers: not a peer: %q", os.Args[1:])
	}
	log.SetPrefix(os.Args[1] + ": ")
	s, err := readSettings()
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	addr := ln.Addr()
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	p := peers[os.Args[1]](s)
	go func() { log.Fatal(p.serve(ln)) }() // ends with the process
	fmt.Println("listening", addr)
	control(p)
	pprof.StopCPUProfile() // writes an unfinished profile
}

func readSettings() (settings, error) {
	s := settings{compress: os.Getenv("BENCH_COMPRESS") == "1"}
	if n := os.Getenv("BENCH_QUEUE"); n != "" {
		var err error
		if s.queue, err = strconv.Atoi(n); err != nil {
			return s, fmt.Errorf("BENCH_QUEUE: %w", err)
		}
	}
	if cert := os.Getenv("BENCH_TLS_CERT"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, os.Getenv("BENCH_TLS_KEY"))
		if err != nil {
			return s, err
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	}
	return s, nil
}

// control answers the driver until its input ends.
func control(p peer) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := do(p, strings.Fields(in.Text()))
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}

func do(p peer, command []string) (string, error) {
	if len(command) == 0 {
		return "", fmt.Errorf("no command")
	}
	switch command[0] {
	case "usage":
		var u syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return fmt.Sprint(u.Utime.Nano()/1000, u.Stime.Nano()/1000), err
	case "gc":
		debug.FreeOSMemory()
		return "ok", nil
	case "cycle":
		return cycle()
	case "publish":
		var n, size, interval int
		if _, err := fmt.Sscan(strings.Join(command[1:], " "), &n, &size, &interval); err != nil {
			return "", fmt.Errorf("publish: %w", err)
		}
		if p.publish == nil {
			return "", fmt.Errorf("publish: it only echoes")
		}
		publish(p, n, size, time.Duration(interval)*time.Microsecond)
		return "ok", nil
	case "profile":
		return "ok", profile(command)
	}
	return "", fmt.Errorf("no command %q", command[0])
}

// publish publishes n messages, each when it is due.
func publish(p peer, n, size int, interval time.Duration) {
	message := bytes.Repeat([]byte{'x'}, size)
	begin := time.Now()
	for i := range n {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * interval)))
		p.publish(message)
	}
}

// profile writes a CPU profile of the next seconds.
func profile(command []string) error {
	if len(command) != 4 || command[1] != "cpu" {
		return fmt.Errorf("usage: profile cpu SECONDS FILE")
	}
	seconds, err := strconv.Atoi(command[2])
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	file, err := os.Create(command[3])
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return err
	}
	time.AfterFunc(time.Duration(seconds)*time.Second, func() {
		pprof.StopCPUProfile()
		file.Close()
	})
	return nil
}

// serveHTTP returns a peer's serve, which answers handshakes by net/http.
func serveHTTP(h http.HandlerFunc) func(net.Listener) error {
	return func(ln net.Listener) error { return http.Serve(ln, h) }
}

// cycle collects garbage, and returns the microseconds of the collection: in total, with the program stopped, and of
// CPU.
func cycle() (string, error) {
	var before, after debug.GCStats
	var begun, ended syscall.Rusage
	debug.ReadGCStats(&before)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &begun); err != nil {
		return "", err
	}
	start := time.Now()
	runtime.GC()
	took := time.Since(start)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ended); err != nil {
		return "", err
	}
	debug.ReadGCStats(&after)
	cpu := ended.Utime.Nano() + ended.Stime.Nano() - begun.Utime.Nano() - begun.Stime.Nano()
	return fmt.Sprint(took.Microseconds(), (after.PauseTotal - before.PauseTotal).Microseconds(), cpu/1000), nil
}
