package mysql

import "serverlessproxy/compute/process"

// Flavor is what differs between the servers that speak this protocol. The
// two values below are the only places where they are told apart.
type Flavor struct {
	Name string
	// TakesProxyHeader: a server that Serve started takes a PROXY header on its
	// socket, and so knows the client's own address.
	TakesProxyHeader bool
	releases         releases

	programs []string // names of the server, the preferred first
	install  string   // the Debian package that brings it
	helpers  []string // names of the program that fills a data directory; none: the server does it

	fill      func(Programs, process.Place) []string // arguments that fill a data directory
	settings  func(Version) []string                 // how it is served, apart from size and place
	plugins   []string                               // that are loaded where they are installed
	patchDown bool                                   // serves data of a later patch of its series

	dataVersion func(directory string) (Version, bool) // of a data directory of this flavor
	catalogue   catalogue
	secure      []string // statements that close what a new data directory leaves open
	grants      func(Version) []string
}

// MariaDB is MariaDB Server.
var MariaDB = &Flavor{
	Name: "MariaDB",

	TakesProxyHeader: true,

	releases:    releases{Version{10, 4, 0}, "MariaDB 10.11", Version{10, 6, 0}, Version{11, 8, 0}},
	programs:    []string{"mariadbd", "mysqld"},
	install:     "mariadb-server",
	helpers:     []string{"mariadb-install-db", "mysql_install_db"},
	fill:        fillMariaDB,
	settings:    settingsOfMariaDB,
	plugins:     []string{"metadata_lock_info"}, // tells which GET_LOCK a session holds, taken in a routine too
	patchDown:   true,
	dataVersion: dataVersionOfMariaDB,
	catalogue:   catalogueOfMariaDB,
	grants:      func(Version) []string { return []string{staticGrants} },
}

// MySQL is Oracle's MySQL, and what is built from it.
var MySQL = &Flavor{
	Name:        "MySQL",
	releases:    releases{Version{5, 7, 0}, "MySQL 5.7", Version{8, 0, 0}, Version{9, 7, 0}},
	programs:    []string{"mysqld"},
	install:     "mysql-server-core",
	fill:        fillMySQL,
	settings:    settingsOfMySQL,
	dataVersion: dataVersionOfMySQL,
	catalogue:   catalogueOfMySQL,
	secure:      secureMySQL,
	grants:      grantsOfMySQL,
}

// flavors in the order in which they are looked for.
var flavors = []*Flavor{MariaDB, MySQL}

// settingsOfMariaDB keeps MariaDB's defaults but for the character set, which
// is latin1 before 11.6 unless a distribution's own file says otherwise.
func settingsOfMariaDB(v Version) []string {
	settings := []string{"--proxy-protocol-networks=localhost"}
	if v.before(Version{11, 6, 0}) {
		settings = append(settings, "--character-set-server=utf8mb4")
	}
	return settings
}

// settingsOfMySQL: no second protocol, no binary log unless asked for (nobody
// replicates from here), and no keys of its own, since clients' TLS ends at
// the proxy and the socket needs none.
func settingsOfMySQL(Version) []string {
	return append([]string{"--loose-mysqlx=OFF", "--skip-log-bin"}, keyless...)
}

var keyless = []string{
	"--secure-file-priv=NULL",
	"--loose-auto-generate-certs=OFF",
	"--loose-sha256-password-auto-generate-rsa-keys=OFF",
	"--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
}

// fillMariaDB: root and the engine's own user log in by the socket alone.
func fillMariaDB(programs Programs, p process.Place) []string {
	args := []string{
		"--no-defaults",
		"--auth-root-authentication-method=socket",
		"--auth-root-socket-user=" + userName(p.UID),
		"--skip-test-db",
		"--datadir=" + dataDirectory(p),
	}
	if programs.relocated() {
		args = append(args, "--basedir="+programs.Prefix)
	}
	return args
}

func fillMySQL(programs Programs, p process.Place) []string {
	args := []string{"--no-defaults", "--initialize-insecure", "--datadir=" + dataDirectory(p)}
	args = append(args, keyless...)
	return append(args, programs.layout()...)
}

// staticGrants are those that RDS gives a master: everything but SUPER, FILE,
// SHUTDOWN and the administration of replication.
const staticGrants = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, " +
	"SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, " +
	"CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"

func grantsOfMySQL(v Version) []string {
	if v.before(Version{8, 0, 0}) {
		return []string{staticGrants}
	}
	grants := []string{staticGrants + ", CREATE ROLE, DROP ROLE", "ROLE_ADMIN, XA_RECOVER_ADMIN"}
	if v.before(Version{8, 2, 0}) {
		return append(grants, "SET_USER_ID")
	}
	return append(grants, "SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER")
}

// secureMySQL takes from root the empty password of --initialize-insecure: it
// logs in on the socket as the operating system's root, as MariaDB's does.
var secureMySQL = []string{
	"INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'",
	"ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket",
}
