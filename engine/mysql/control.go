package mysql

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

// The control account is the proxy's own. An init file gives it back its
// password and its rights at every start of the server, so that it survives
// whatever is done to the accounts, and a volume that is restored elsewhere.
// Its secret lies beside the socket, in a folder that only the proxy and the
// server may enter; Source leaves the account out of the Book, so that nobody
// logs in as it at the endpoint.
const (
	controlUser   = "serverlessproxy"
	controlHost   = "localhost"
	secretName    = "control.secret"
	initName      = "control.sql"
	temporaryName = "tmp"
)

func initFile(p process.Place) string           { return filepath.Join(p.Run, initName) }
func temporaryDirectory(p process.Place) string { return filepath.Join(p.Data, temporaryName) }

// prepare writes what a start of the server needs: the control account's
// secret and init file, and a folder in the volume for temporary files, which
// may hold rows.
//
// These folders are the server's user's, so that nothing in them is trusted:
// os.Root follows no link out of them, and files are made anew.
func prepare(p process.Place) error {
	secret, err := secretOf(p)
	if err != nil {
		return err
	}
	run, err := os.OpenRoot(p.Run)
	if err != nil {
		return fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	if err := writeAnew(run, initName, initStatements(secret), p); err != nil {
		return fmt.Errorf("write init file: %w", err)
	}
	return makeTemporary(p)
}

// secretOf is the secret that is there, or a new one: a server that still
// runs knows the old one.
func secretOf(p process.Place) (credential.Secret, error) {
	run, err := os.OpenRoot(p.Run)
	if err != nil {
		return "", fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	if text, err := run.ReadFile(secretName); err == nil && len(text) >= 20 && !strings.ContainsAny(string(text), "'\\\n") {
		return credential.Secret(text), nil
	}
	secret := newSecret()
	// It stays the proxy's own: the server has it in the init file.
	if err := writeAnew(run, secretName, string(secret), process.Place{UID: os.Getuid(), GID: os.Getgid()}); err != nil {
		return "", fmt.Errorf("write control secret: %w", err)
	}
	return secret, nil
}

// newSecret is random, and has what rules for passwords ask for.
func newSecret() credential.Secret { return credential.Secret(rand.Text() + "-a1") }

// initStatements: one statement a line, as init files want it.
func initStatements(secret credential.Secret) string {
	account := quote(controlUser) + "@" + quote(controlHost)
	return strings.Join([]string{
		"SET SESSION sql_log_bin = 0;",
		"CREATE USER IF NOT EXISTS " + account + ";",
		"ALTER USER " + account + " IDENTIFIED BY " + quote(string(secret)) + " REQUIRE NONE ACCOUNT UNLOCK PASSWORD EXPIRE NEVER;",
		"GRANT ALL PRIVILEGES ON *.* TO " + account + " WITH GRANT OPTION;",
		"",
	}, "\n")
}

// writeAnew puts a file of the place's user there whole, or not at all.
func writeAnew(folder *os.Root, name, text string, p process.Place) error {
	draft := name + ".new"
	if err := folder.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := folder.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err == nil && os.Getuid() == 0 {
		err = file.Chown(p.UID, p.GID)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return folder.Rename(draft, name)
}

func makeTemporary(p process.Place) error {
	data, err := os.OpenRoot(p.Data)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	defer data.Close()
	err = data.Mkdir(temporaryName, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && os.Getuid() == 0 {
		err = data.Lchown(temporaryName, p.UID, p.GID)
	}
	if err != nil {
		return fmt.Errorf("make directory for temporary files: %w", err)
	}
	return nil
}

// controlLogin finds the control account's secret beside a socket.
func controlLogin(socket string) (Login, error) {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(socket), secretName))
	if err != nil {
		return Login{}, fmt.Errorf("%w: %w", errNoSecret, err)
	}
	return Login{User: controlUser, Password: credential.Secret(text)}, nil
}
