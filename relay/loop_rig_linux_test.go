package relay

import "testing"

func loopWays() []way {
	return []way{
		{name: "loop/tcp", lender: loopLender, client: tcpPair, backend: tcpPair},
		{name: "loop/unix", lender: loopLender, client: unixPair, backend: unixPair},
		{name: "loop/mixed", lender: loopLender, client: tcpPair, backend: unixPair},
	}
}

func loopLender(t testing.TB) Lender {
	l, err := NewLoop(quiet)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}
