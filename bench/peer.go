package main

// The servers: how each is started, asked and stopped.

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peer is a server that can be measured.
type peer struct {
	name     string
	setUp    string   // how, besides the least that it takes
	goServer bool     // a peer of bench/servers
	command  []string // or runs in bench/js
	echoes   bool     // does nothing but echo, over TCP
}

var allPeers = []peer{
	{name: "hail", goServer: true, setUp: "defaults, but for a longer ReadLimit and SendQueue: heartbeats, timeouts and UTF-8 checks are on"},
	{name: "hail-reuse", goServer: true, setUp: "as hail, with ReuseBuffers"},
	{name: "gws", goServer: true, setUp: "Recovery on, ParallelEnabled off, its Broadcaster; UTF-8 checks off, as it ships; no deadlines"},
	{name: "gorilla", goServer: true, setUp: "WriteBufferPool; a PreparedMessage to a goroutine and channel a connection, as in its chat example; it has no UTF-8 checks"},
	{name: "melody", goServer: true, setUp: "its heartbeats are on; its Broadcast, with buffers that drop nothing; it has no UTF-8 checks"},
	{name: "coder", goServer: true, setUp: "its Reader into a pooled buffer, and Write; publishes to a goroutine and channel a connection, as in its chat example; it has no UTF-8 checks"},
	{name: "gobwas", goServer: true, setUp: "zero-copy upgrade, wsutil with its UTF-8 checks, a goroutine a connection, a frame compiled once to publish"},
	{name: "ws", command: []string{"node", "--expose-gc", "ws.js"}, setUp: "with bufferutil; UTF-8 checks on; for compression the options of its README"},
	{name: "bun", command: []string{"node_modules/bun/bin/bun.exe", "bun.js"}, setUp: "Bun.serve with subscribe and publish; UTF-8 checks on"},
	{name: "floor", goServer: true, echoes: true, setUp: "a bare loop of reads and writes, a goroutine a connection, that unmasks and looks at nothing"},
	{name: "floor-epoll", goServer: true, echoes: true, setUp: "as floor, but with an epoll set a core in place of goroutines"},
}

func peerNames() []string {
	var names []string
	for _, p := range allPeers {
		names = append(names, p.name)
	}
	return names
}

// can reports whether the peer has a place in a case.
func (p peer) can(c bcase) bool {
	return !p.echoes || c.inFlight > 0 && c.unit != "" && !c.tls && !c.compress
}

// tools are what servers are started with.
type tools struct {
	dir       string // temporary
	servers   string // the program of the Go peers
	cert, key string
}

// prepare builds the Go servers, installs the others where Node is at hand, and makes a certificate.
func (r *run) prepare(ctx context.Context) (t *tools, err error) {
	dir, err := os.MkdirTemp("", "hail-bench-")
	if err != nil {
		return nil, err
	}
	t = &tools{dir: dir, servers: filepath.Join(dir, "servers")}
	defer func() {
		if err != nil {
			t.remove()
		}
	}()
	if err := command(ctx, ".", "go", "build", "-o", t.servers, "./servers"); err != nil {
		return nil, err
	}
	if err := r.installJS(ctx); err != nil {
		return nil, err
	}
	if err := t.certify(); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return t, nil
}

// installJS sees to it that bench/js has the versions that it asks for.
func (r *run) installJS(ctx context.Context) error {
	inJS := func(p peer) bool { return !p.goServer }
	if !slices.ContainsFunc(r.peers, inJS) {
		return nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		r.note("ws and bun are left out: %v", err)
		r.peers = slices.DeleteFunc(r.peers, inJS)
		return nil
	}
	if command(ctx, "js", "npm", "ls", "--silent") == nil && command(ctx, "js", "node_modules/bun/bin/bun.exe", "--version") == nil {
		return nil
	}
	if err := command(ctx, "js", "npm", "ci", "--ignore-scripts", "--silent"); err != nil {
		return err
	}
	// What this one does is all that any of them needs.
	return command(ctx, "js", "node", "node_modules/bun/install.js")
}

func command(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (t *tools) remove() { os.RemoveAll(t.dir) }

func (t *tools) certify() error {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, priv.Public(), priv)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return err
	}
	t.cert, t.key = filepath.Join(t.dir, "cert.pem"), filepath.Join(t.dir, "key.pem")
	if err := os.WriteFile(t.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(t.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

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

// stop ends the server: it leaves when its input ends.
func (s *server) stop() {
	s.in.Close()
	timer := time.AfterFunc(2*time.Second, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
}

// ask has the server do something, and returns its answer.
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

// do has the server do something that it answers with "ok".
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

// settled returns the resident memory when garbage is collected and nothing moves.
func (s *server) settled() (float64, error) {
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		if err := s.do("gc"); err != nil {
			return 0, err
		}
	}
	return s.resident()
}
