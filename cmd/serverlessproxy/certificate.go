package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificate is the proxy's own, reloaded when its files change.
type certificate struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu      sync.Mutex // protects following fields
	config  *tls.Config
	changed [3]time.Time // of the files, when config was made
	looked  time.Time
}

// loadCertificate loads the configured certificate, or the one in the state
// directory, which it makes at the first start.
func loadCertificate(cert, key, clientCA, stateDir string, log *slog.Logger) (*certificate, error) {
	if cert == "" {
		cert, key = filepath.Join(stateDir, "tls.crt"), filepath.Join(stateDir, "tls.key")
		if _, err := os.Stat(cert); os.IsNotExist(err) {
			if err := makeCertificate(cert, key); err != nil {
				return nil, fmt.Errorf("make TLS certificate: %w", err)
			}
		}
	}
	c := &certificate{cert: cert, key: key, clientCA: clientCA, log: log}
	return c, c.reload()
}

// current is what a new connection uses. Changed files are noticed within a
// second; a change that does not load is logged and the old one stays.
func (c *certificate) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > time.Second {
		c.looked = now
		if c.times() != c.changed {
			if err := c.load(); err != nil {
				c.log.Error("keeping the old TLS certificate", "error", err)
			} else {
				c.log.Info("TLS certificate reloaded", "file", c.cert)
			}
		}
	}
	return c.config
}

func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load()
}

func (c *certificate) times() (times [3]time.Time) {
	for i, file := range []string{c.cert, c.key, c.clientCA} {
		if info, err := os.Stat(file); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}

func (c *certificate) load() error {
	times := c.times()
	c.changed = times
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("load TLS certificate %s with key %s: %w", c.cert, c.key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.clientCA != "" {
		text, err := os.ReadFile(c.clientCA)
		if err != nil {
			return fmt.Errorf("load client CA: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("load client CA: %s holds no PEM certificate", c.clientCA)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	c.config = config
	return nil
}

// makeCertificate writes a self-signed certificate for this host, good for
// ten years: clients that verify bring their own authority and certificate.
func makeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "serverlessproxy"},
		DNSNames:     []string{"localhost", host},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
