package main

// A server's process: starting it, asking it and stopping it.

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// server is a running peer.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func (t *tools) start(ctx context.Context, p peer, c bcase) (*server, error) {
	args, dir := p.command, "js"
	if p.goServer {
		args, dir = []string{t.servers, p.name}, "."
	}
	if name, ok := strings.CutSuffix(p.name, atBase); ok {
		args = []string{t.base, name}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if c.tls {
		cmd.Env = append(cmd.Env, "BENCH_TLS_CERT="+t.cert, "BENCH_TLS_KEY="+t.key)
	}
	if c.compress {
		cmd.Env = append(cmd.Env, "BENCH_COMPRESS=1")
	}
	if c.messages > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("BENCH_QUEUE=%d", c.messages))
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, in: in, out: bufio.NewReader(out)}
	line, err := s.out.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		s.stop()
		return nil, fmt.Errorf("did not start: %q, %v", line, err)
	}
	s.addr = addr
	return s, nil
}

// stop ends the server: it exits when its input ends.
func (s *server) stop() {
	s.in.Close()
	timer := time.AfterFunc(2*time.Second, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
}

// ask sends the server a command, and returns its answer.
func (s *server) ask(command string) (string, error) {
	if _, err := io.WriteString(s.in, command+"\n"); err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the server has ended: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// do sends the server a command that it answers with "ok".
func (s *server) do(command string) error {
	answer, err := s.ask(command)
	if err == nil && answer != "ok" {
		err = fmt.Errorf("%s: %s", command, answer)
	}
	return err
}

// usage returns the CPU time that the server has used, in microseconds.
func (s *server) usage() (user, system float64, err error) {
	answer, err := s.ask("usage")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(answer, &user, &system); err != nil {
		return 0, 0, fmt.Errorf("usage: %q: %w", answer, err)
	}
	return user, system, nil
}

// resident returns the server's resident memory in MiB.
func (s *server) resident() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", s.cmd.Process.Pid)
}

// settled returns the resident memory after two collections, each after a wait.
func (s *server) settled(wait time.Duration) (float64, error) {
	for range 2 {
		time.Sleep(wait)
		if err := s.do("gc"); err != nil {
			return 0, err
		}
	}
	return s.resident()
}
