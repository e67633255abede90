package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// access is who may call an endpoint.
type access int

const (
	open    access = iota // anybody who reaches the address
	trusted               // whoever brings the token, or comes over the socket
)

// overSocket marks the requests of connections over the socket.
type overSocket struct{}

// isTrusted tells whether a request may see and do everything.
func (a *API) isTrusted(r *http.Request) bool {
	return r.Context().Value(overSocket{}) != nil || a.hasToken(r)
}

func (a *API) hasToken(r *http.Request) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
	return a.Token != "" && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], a.token[:]) == 1
}

// guard refuses what a request may not do. The token is asked for last: a
// page of somebody else's must not learn whether it has one.
func (a *API) guard(r *http.Request, need access) error {
	if need == open || r.Context().Value(overSocket{}) != nil {
		return nil
	}
	if err := a.origins.Check(r); err != nil {
		return fail(http.StatusForbidden, "forbidden", "this request comes from another site's page")
	}
	if !a.knowsHost(r.Host) {
		return fail(http.StatusForbidden, "forbidden",
			"the host %q is not known here: use an IP address or localhost, or name it in admin.hosts of the configuration", r.Host)
	}
	if !a.hasToken(r) {
		return fail(http.StatusUnauthorized, "unauthorized",
			"this needs the admin token: send the text of STATE_DIR/%s as `Authorization: Bearer …`, or use the socket STATE_DIR/%s", TokenFile, SocketFile)
	}
	return nil
}

// knowsHost tells whether a Host header is one that only this server has: a
// name of somebody else's may be made to point here.
func (a *API) knowsHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return net.ParseIP(host) != nil || a.hosts[fold(host)]
}

func hostSet(names []string) map[string]bool {
	set := map[string]bool{"localhost": true}
	for _, name := range names {
		set[fold(name)] = true
	}
	return set
}

func fold(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// The files of a state directory.
const (
	TokenFile  = "admin.token"
	SocketFile = "admin.sock"
)
