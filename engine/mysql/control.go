package mysql

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// controlFiles are what a start of the server finds in its run directory: the
// control account's secret, and the init file that gives it to the account.
func controlFiles(p process.Place) []process.File {
	secret := keptSecret(p)
	if secret == "" {
		secret = newSecret()
	}
	return []process.File{
		{Name: secretName, Content: string(secret)},
		{Name: initName, Content: initStatements(secret)},
	}
}

// keptSecret is the secret of an earlier start, "" if there is none. It stays,
// since whoever is connected to the server, or adopts it, knows that one.
func keptSecret(p process.Place) credential.Secret {
	run, err := os.OpenRoot(p.Run)
	if err != nil {
		return ""
	}
	defer run.Close()
	text, err := run.ReadFile(secretName)
	if err != nil || !isSecret.Match(text) {
		return ""
	}
	return credential.Secret(text)
}

// isSecret is the form of newSecret's; nothing else is put into a statement.
var isSecret = regexp.MustCompile(`^[A-Z2-7]{20,}-a1$`)

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

// makeTemporary makes a folder in the volume for the server's temporary files,
// which may hold rows. The volume is the server's user's, so that no link in it
// is followed.
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
