package mysql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

// remote is an engine as others would run it: on a port, with TLS.
type remote struct {
	*Engine
	port      string
	cert, key string
}

func (r remote) Serve(p process.Place, size acu.Size) process.Command {
	command := r.Engine.Serve(p, size)
	at := slices.Index(command.Args, "--skip-networking")
	command.Args = slices.Replace(command.Args, at, at+1, "--bind-address=127.0.0.1", "--port="+r.port)
	command.Args = append(command.Args, "--ssl-cert="+filepath.Join(p.Run, "cert.pem"), "--ssl-key="+filepath.Join(p.Run, "key.pem"))
	command.Files = append(command.Files, process.File{Name: "cert.pem", Content: r.cert}, process.File{Name: "key.pem", Content: r.key})
	return command
}

func certificate(t *testing.T) (cert, key string, authorities *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db.example"}, DNSNames: []string{"db.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	authorities = x509.NewCertPool()
	authorities.AppendCertsFromPEM(text)
	return string(text), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), authorities
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A server that others run is asked over TCP, as a service account, by TLS.
func (s *server) testRemote(t *testing.T) {
	s.control("CREATE USER service@'%' IDENTIFIED BY 'x' REQUIRE SSL", "GRANT SELECT ON mysql.* TO service@'%'",
		"GRANT SHOW DATABASES ON *.* TO service@'%'",
		"CREATE USER half@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON mysql.* TO half@'%'")
	s.stop()
	cert, key, authorities := certificate(t)
	engine := remote{s.engine, freePort(t), cert, key}
	compute := process.New(process.Config{Name: "test", Engine: engine, Place: s.place, Log: quiet})
	if _, err := compute.Start(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	defer s.start()
	defer func() {
		if err := compute.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	verified := &tls.Config{RootCAs: authorities, ServerName: "db.example", MinVersion: tls.VersionTLS12}
	for name, c := range map[string]struct {
		login   Login
		works   bool // and knows my_app
		refused bool
		half    bool // works, but does not see schemas
	}{
		"TLS":                 {login: Login{User: "service", Password: "x", TLS: verified}, works: true},
		"half":                {login: Login{User: "half", Password: "x"}, works: true, half: true},
		"plain":               {login: Login{User: "service", Password: "x"}, refused: true},
		"a wrong password":    {login: Login{User: "service", Password: "y", TLS: verified}, refused: true},
		"another's name":      {login: Login{User: "service", Password: "x", TLS: &tls.Config{RootCAs: authorities, ServerName: "other.example"}}},
		"no such authority":   {login: Login{User: "service", Password: "x", TLS: &tls.Config{ServerName: "db.example"}}},
		"the control account": {login: Login{User: controlUser, Password: "x", TLS: verified}, refused: true},
	} {
		source := NewSource(SourceConfig{Network: "tcp", Address: "127.0.0.1:" + engine.port, Log: quiet, Login: func() (Login, error) { return c.login, nil }})
		book, err := source.Book(t.Context(), "app", "my_app")
		if c.works != (err == nil) || c.refused != Refused(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (len(book.Accounts) != 1 || c.half != (book.Databases == nil) || !c.half && book.Databases["my_app"].Name == "") {
			t.Errorf("%s: %+v", name, book)
		}
		if err != nil && !c.refused && !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		source.Close()
	}
}
