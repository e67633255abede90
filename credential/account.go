package credential

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// SortAccounts puts accounts into the order in which the engine tries them:
// the most specific host first and, of equal hosts, the named user before the
// anonymous one. It is MariaDB's order since 10.4; others differ between two
// patterns that both fit one client, if at all.
func SortAccounts(accounts []Account) {
	slices.SortStableFunc(accounts, func(a, b Account) int {
		return cmp.Or(
			cmp.Compare(breadth(a.Host), breadth(b.Host)),
			cmp.Compare(anonymous(a), anonymous(b)),
			-cmp.Compare(a.Host, b.Host), // "localhost" before the loopback addresses
			cmp.Compare(a.User, b.User),
		)
	})
}

// MatchAccount is the account that the engine would choose for a client which
// gives its name as user: the first, in the order of SortAccounts, whose user
// is that name or anybody and whose host pattern fits one of names, the
// client's address and what that resolves to ("localhost" for a Unix socket).
// What the account then asks of the client is not looked at: an engine does
// not go on to the next one either.
func MatchAccount(accounts []Account, user string, names ...string) (Account, bool) {
	for _, account := range accounts {
		if account.Role || account.User != user && account.User != "" {
			continue
		}
		if account.fits(names) {
			return account, true
		}
	}
	return Account{}, false
}

// fits tells whether one of a client's names fits the account's host pattern.
func (a Account) fits(names []string) bool {
	pattern := a.Host
	network, masked := parseMask(pattern)
	if a.CIDR && !masked {
		network, masked = parsePrefix(pattern)
	}
	for _, name := range names {
		if masked {
			if address, err := netip.ParseAddr(name); err == nil && network.contains(address) {
				return true
			}
			continue
		}
		if pattern == "" || likeHost(strings.ToLower(pattern), strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// network is a host pattern of the forms 10.0.0.0/255.0.0.0 and 10.0.0.0/8.
// Both are of IPv4 alone. The engines compare the masked address with the base
// as it is written: a base with bits outside the mask fits nobody.
type network struct{ base, mask []byte }

func parseMask(pattern string) (network, bool) {
	address, mask, _ := strings.Cut(pattern, "/")
	base, err := netip.ParseAddr(address)
	if err != nil || !base.Is4() {
		return network{}, false
	}
	bits, err := netip.ParseAddr(mask)
	if err != nil || !bits.Is4() {
		return network{}, false
	}
	return network{base.AsSlice(), bits.AsSlice()}, true
}

func parsePrefix(pattern string) (network, bool) {
	prefix, err := netip.ParsePrefix(pattern)
	if err != nil || !prefix.Addr().Is4() {
		return network{}, false
	}
	mask := make([]byte, prefix.Addr().BitLen()/8)
	for bit := range prefix.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	return network{prefix.Addr().AsSlice(), mask}, true
}

func (n network) contains(address netip.Addr) bool {
	octets := address.Unmap().AsSlice()
	if len(octets) != len(n.base) {
		return false
	}
	for i := range octets {
		if octets[i]&n.mask[i] != n.base[i] {
			return false
		}
	}
	return true
}

// likeHost is LIKE: % is any run, _ is any one, \ takes the next literally.
func likeHost(pattern, name string) bool {
	retryPattern, retryName := -1, 0 // after the last %, and where its run ends
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '%':
			p++
			retryPattern, retryName = p, n
			continue
		case p+1 < len(pattern) && pattern[p] == '\\':
			if pattern[p+1] == name[n] {
				p, n = p+2, n+1
				continue
			}
		case p < len(pattern) && (pattern[p] == '_' || pattern[p] == name[n]):
			p, n = p+1, n+1
			continue
		}
		if retryPattern < 0 {
			return false
		}
		retryName++
		p, n = retryPattern, retryName
	}
	return strings.Trim(pattern[p:], "%") == ""
}

// Limits of the engine's own count: they decide between patterns.
const (
	longestHost  = 60
	mostWildcard = 31
)

// breadth grows with the number of hosts that a pattern fits, as the engine
// counts it: by how long the run is that % may stand for, then by the number
// of %, then of _; for few of them the count of _ comes first. Between equals
// the shorter literal prefix comes first, as an older version had it.
func breadth(host string) uint64 {
	if host == "" {
		host = "%"
	}
	var literals, singles, runs, prefix uint64
	for i := 0; i < len(host); i++ {
		switch {
		case host[i] == '%':
			if runs == 0 && singles == 0 {
				prefix = literals
			}
			runs++
			for i+1 < len(host) && host[i+1] == '%' {
				i++
			}
		case host[i] == '_':
			if runs == 0 && singles == 0 {
				prefix = literals
			}
			singles++
		default:
			if host[i] == '\\' && i+1 < len(host) {
				i++
			}
			literals++
		}
	}
	runs, singles = min(runs, mostWildcard), min(singles, mostWildcard)
	var longestRun uint64
	if runs > 0 && literals+singles < longestHost {
		longestRun = longestHost - literals - singles
	}
	const d, d1 = longestHost + 1, mostWildcard + 1
	if longestRun > singles {
		return (((longestRun*2+1)*d+runs)*d1+singles)*d + prefix
	}
	return ((singles*2*d+longestRun)*d1+runs)*d + prefix
}

func anonymous(a Account) int {
	if a.User == "" {
		return 1
	}
	return 0
}
