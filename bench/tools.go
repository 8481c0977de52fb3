package main

// Preparations before servers start.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tools are the programs and files to start servers with.
type tools struct {
	dir       string // temporary
	servers   string // the program of the Go peers
	base      string // the same of another revision, if there is one to compare with
	cert, key string
}

// prepare builds the Go servers, installs the others if there is Node, and makes a certificate.
func (r *run) prepare(ctx context.Context) (t *tools, err error) {
	dir, err := os.MkdirTemp("", "hail-bench-")
	if err != nil {
		return nil, err
	}
	t = &tools{dir: dir, servers: filepath.Join(dir, "servers")}
	defer func() {
		if err != nil {
			os.RemoveAll(dir) // t is nil by then
		}
	}()
	if err := command(ctx, ".", "go", "build", "-o", t.servers, "./servers"); err != nil {
		return nil, err
	}
	if r.base != "" {
		if err := t.buildBase(ctx, r.base); err != nil {
			return nil, err
		}
	}
	if err := r.installJS(ctx); err != nil {
		return nil, err
	}
	if err := t.certify(); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return t, nil
}

// installJS installs the versions that bench/js requires.
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
	// This one's install script is the only one that is needed.
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
