package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// privacy is who may read a file.
type privacy int

const (
	public      privacy = iota // anybody
	authorities                // anybody; it holds certificates
	secret                     // its owner; a warning otherwise
)

// fileUse is a file that the configuration names.
type fileUse struct {
	s    *section
	key  string
	path string
	privacy
}

// filePair is a certificate and its key.
type filePair struct {
	s         *section
	cert, key string
}

// file reads a path of a file that must be there when it is given.
func (s *section) file(key string, into *string, p privacy) {
	s.text(key, into)
	if *into == "" {
		return
	}
	*into = s.r.resolve(*into)
	s.r.files = append(s.r.files, fileUse{s: s, key: key, path: *into, privacy: p})
}

// checkFiles looks at the files that the configuration names.
func (r *reader) checkFiles() {
	readable := map[string]bool{}
	for _, use := range r.files {
		readable[use.path] = use.check()
	}
	for _, pair := range r.pairs {
		if !readable[pair.cert] || !readable[pair.key] {
			continue
		}
		if _, err := tls.LoadX509KeyPair(pair.cert, pair.key); err != nil {
			pair.s.wrong("cert", "cannot be used: "+err.Error(), "a PEM certificate, with its chain, and its own private key")
		}
	}
}

// check tells whether the file can be read, and notes what is wrong with it.
func (f fileUse) check() bool {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.s.wrong(f.key, f.path+" does not exist", "make it, or correct the path; a relative one starts at this file's directory")
		return false
	case err != nil:
		f.s.wrong(f.key, reason(err)+": "+f.path, "a file that the proxy's user may read")
		return false
	case info.IsDir():
		f.s.wrong(f.key, f.path+" is a directory", "a file")
		return false
	}
	file, err := os.Open(f.path)
	if err != nil {
		f.s.wrong(f.key, reason(err)+": "+f.path, "a file that the proxy's user may read")
		return false
	}
	file.Close() // nothing was written
	if f.privacy == authorities {
		f.checkAuthorities()
	}
	if f.privacy == secret && info.Mode().Perm()&0o077 != 0 {
		f.s.warn(f.key, fmt.Sprintf("%s holds a secret, and others may read it (mode %04o)", f.path, info.Mode().Perm()), "chmod 600 "+f.path)
	}
	return true
}

// reason is what the operating system said, without the path again.
func reason(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// checkAuthorities notes a file of certificates that holds none.
func (f fileUse) checkAuthorities() {
	data, err := os.ReadFile(f.path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		f.s.wrong(f.key, f.path+" holds no certificate", "certificates in PEM")
	}
}
