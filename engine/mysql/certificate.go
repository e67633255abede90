package mysql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	"serverlessproxy/compute/process"
)

const (
	certificateName = "server.crt"
	keyName         = "server.key"
)

// certificateFiles are what the server speaks TLS with: an account that is
// created with REQUIRE SSL is refused on a socket without it. Nobody verifies
// the certificate, since nobody else reaches the socket; it is made anew at
// each start.
func certificateFiles() ([]process.File, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: controlUser},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(100, 0, 0), // a server may run for long
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return []process.File{
		{Name: certificateName, Content: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))},
		{Name: keyName, Content: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))},
	}, nil
}

// certificateOptions name them to the server.
func certificateOptions(p process.Place) []string {
	return []string{"--ssl-cert=" + filepath.Join(p.Run, certificateName), "--ssl-key=" + filepath.Join(p.Run, keyName)}
}
