package lifecycle_test

// A server without descriptors: in a process of its own, whose limit is low.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/test/internal/kit"
)

// descriptorsEnv makes TestDescriptorsRunOut the process that runs out of them.
const descriptorsEnv = "HAIL_TEST_DESCRIPTORS"

// starved is a server's process as its test sees it. It gets one command a line, and answers each line.
type starved struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Scanner
	addr string
}

func startStarved(t *testing.T) *starved {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestDescriptorsRunOut$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), descriptorsEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's process: %v\n%s", err, rest)
		}
	})
	s := &starved{t: t, in: in, out: bufio.NewScanner(out)}
	s.addr = s.tell("")
	return s
}

// tell sends a line and returns the answer.
func (s *starved) tell(line string) string {
	s.t.Helper()
	fmt.Fprintln(s.in, line)
	for s.out.Scan() {
		if answer, ok := strings.CutPrefix(s.out.Text(), "answer "); ok {
			return answer
		}
	}
	s.t.Fatalf("%s: no answer, %v", line, s.out.Err())
	panic("unreachable")
}

// serveStarved is the server's process: it obeys until its input ends.
func serveStarved(t *testing.T) {
	limit := syscall.Rlimit{Cur: 256, Max: 256}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	s := &hail.Server{Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}, Options: hail.Options{Logger: kit.Quiet}}
	addr := kit.Listen(t, s)
	before := openDescriptors(t)
	var ballast []*os.File
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		answer := addr
		switch word, arg, _ := strings.Cut(in.Text(), " "); word {
		case "fill": // open descriptors until only so many are left
			n, _ := strconv.Atoi(arg)
			for {
				f, err := os.Open(os.DevNull)
				if errors.Is(err, syscall.EMFILE) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				ballast = append(ballast, f)
			}
			for _, f := range ballast[len(ballast)-n:] {
				f.Close()
			}
			ballast = ballast[:len(ballast)-n]
		case "free":
			for _, f := range ballast {
				f.Close()
			}
			ballast = nil
		case "len":
			answer = strconv.Itoa(s.Len())
		case "streams":
			answer = strconv.Itoa(streams())
		}
		fmt.Println("answer", answer)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := openDescriptors(t); got > before {
		t.Errorf("%d descriptors are open at the end, want the %d that were before", got, before)
	}
}

// openDescriptors counts the process's sockets and epoll sets.
func openDescriptors(t *testing.T) (n int) {
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, _ := os.Readlink(dir + e.Name())
		if strings.HasPrefix(target, "socket:") || strings.Contains(target, "eventpoll") {
			n++
		}
	}
	return n
}

// streams counts the connections that have a goroutine.
func streams() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "poll.(*stream).serve(")
}

func TestDescriptorsRunOut(t *testing.T) {
	if os.Getenv(descriptorsEnv) != "" {
		serveStarved(t)
		return
	}
	t.Parallel()
	s := startStarved(t)

	s.tell("fill 1")
	last := kit.Await(t, "a handshake for the last descriptor", s.dial(1), kit.Ample)
	t.Cleanup(last.Reset)
	last.Exchange(t, "served by a goroutine")
	if got := s.tell("streams"); got != "1" {
		t.Errorf("%s connections have a goroutine, want the 1 for whose duplicate there was no descriptor", got)
	}
	waits := s.dial(1)
	for i := range 10 {
		last.Exchange(t, strconv.Itoa(i))
	}
	if len(waits) > 0 {
		t.Error("a connection came to be without a descriptor")
	}

	s.tell("free")
	polled := kit.Await(t, "the handshake that had to wait", waits, kit.Ample)
	t.Cleanup(polled.Reset)
	polled.Exchange(t, "served from the set")
	last.Exchange(t, "still there")
	if got := s.tell("streams"); got != "1" {
		t.Errorf("%s connections have a goroutine, want 1: there are descriptors", got)
	}

	const n = 60
	s.tell("fill " + strconv.Itoa(n/3))
	dials := s.dial(n)
	for range n {
		c := kit.Await(t, "a handshake while others hold the descriptors", dials, kit.Ample)
		c.Exchange(t, "in turn")
		last.Exchange(t, "still there")
		polled.Exchange(t, "still there")
		c.Reset() // another has its descriptor
	}
	s.tell("free")
	for _, c := range kit.Callers(t, s.addr, n) {
		c.Exchange(t, "as before")
	}
	for limit := time.Now().Add(kit.Ample); s.tell("len") != strconv.Itoa(n+2); {
		if time.Now().After(limit) { // the server may not have noticed yet that some have left
			t.Fatalf("%s connections are open, want %d", s.tell("len"), n+2)
		}
	}
}

// dial starts n handshakes, which may have to wait, but not for longer than ample.
func (s *starved) dial(n int) <-chan *kit.Caller {
	dialed := make(chan *kit.Caller, n)
	for range n {
		go func() {
			c, err := kit.Call(s.addr)
			if err != nil {
				s.t.Errorf("handshake: %v", err)
				return
			}
			dialed <- c
		}()
	}
	return dialed
}
