package hailtest

// The server under a dial: a real net/http server that runs the handler for one connection.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// serverName is the Host of a request to a handler, and the name in the certificate.
const serverName = "example.com"

// server runs a handler. It exists from Dial to the test's cleanup.
type server struct {
	http     http.Server
	listener net.Listener
	tls      *tls.Config // the client's; nil without TLS
	serving  chan struct{}
	handlers sync.WaitGroup
}

// startServer starts the one goroutine of a server, which accepts; stop ends it and waits.
func startServer(h http.Handler, o *options) (*server, error) {
	s := &server{listener: newMemListener(), serving: make(chan struct{})}
	if o.tcp {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s.listener = &tcpListener{ln.(*net.TCPListener), o.bufferSize}
	}
	ln := s.listener
	if o.wrap != nil {
		ln = wrapListener{ln, o.wrap}
	}
	if o.tls != nil {
		cert := newCertificate()
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
		s.tls = trusting(o.tls, cert)
	}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handlers.Add(1)
		defer s.handlers.Done()
		h.ServeHTTP(w, r)
	})
	go func() {
		defer close(s.serving)
		s.http.Serve(ln)
	}()
	return s, nil
}

func (s *server) dial(ctx context.Context, o *options) (net.Conn, error) {
	if l, ok := s.listener.(*memListener); ok {
		return l.dial(o)
	}
	return dialTCP(ctx, s.listener.Addr().String(), o)
}

// stop closes the listener and waits until the handler has returned, or reports false after the timeout.
// The client has closed its connection before, so a handler that reads returns.
func (s *server) stop(timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// Shutdown waits for every connection that is not hijacked, so no handler starts after it.
	err := s.http.Shutdown(ctx)
	<-s.serving
	if err != nil {
		s.http.Close()
		return false
	}
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		s.handlers.Wait()
	}()
	select {
	case <-returned:
		return true
	case <-ctx.Done():
		return false
	}
}

func dialTCP(ctx context.Context, addr string, o *options) (net.Conn, error) {
	var d net.Dialer
	if o.remoteAddr != nil {
		d.LocalAddr = o.remoteAddr
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		setBuffers(conn.(*net.TCPConn), o.bufferSize)
	}
	return conn, err
}

func setBuffers(conn *net.TCPConn, size int) {
	if size > 0 {
		conn.SetReadBuffer(size)
		conn.SetWriteBuffer(size)
	}
}

// memListener accepts the server's ends of pipes.
type memListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
}

func (l *memListener) dial(o *options) (net.Conn, error) {
	remote := o.remoteAddr
	if remote == nil {
		remote = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	}
	if remote.Port == 0 {
		remote = &net.TCPAddr{IP: remote.IP, Port: 49152 + mathrand.IntN(16384), Zone: remote.Zone}
	}
	client, server := pipe(o.bufferSize, remote, l.Addr())
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
}

// tcpListener sets the buffers of the connections it accepts.
type tcpListener struct {
	*net.TCPListener
	bufferSize int
}

func (l *tcpListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	setBuffers(conn, l.bufferSize)
	return conn, nil
}

// wrapListener wraps the connections it accepts.
type wrapListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

// newCertificate returns a self-signed certificate for serverName, valid at any time, also at that of a
// synctest bubble.
func newCertificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("hailtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{serverName},
		NotBefore:    time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("hailtest: " + err.Error())
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic("hailtest: " + err.Error())
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// trusting returns a client's config that also trusts cert, unless it has roots of its own.
func trusting(config *tls.Config, cert tls.Certificate) *tls.Config {
	config = config.Clone()
	if config.RootCAs == nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(cert.Leaf)
	}
	if config.ServerName == "" {
		config.ServerName = serverName
	}
	return config
}

// stacks returns the stacks of all goroutines.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
