package relay

import (
	"io"
	"strings"
	"testing"
)

// BenchmarkPingPong is a question and an answer, 100 bytes each.
func BenchmarkPingPong(b *testing.B) {
	for _, w := range ways() {
		if strings.HasPrefix(w.name, "relay") {
			continue
		}
		b.Run(w.name, func(b *testing.B) {
			r := newRig(b, w)
			r.lend(&frames{})
			pingPong(b, r.user, r.server)
		})
	}
	b.Run("direct/tcp", func(b *testing.B) {
		user, server := tcpPair(b)
		pingPong(b, user, server)
	})
	b.Run("direct/tls", func(b *testing.B) {
		user, server := tlsPair(b)
		pingPong(b, user, server)
	})
}

func pingPong(b *testing.B, user, server io.ReadWriter) {
	message := make([]byte, 100)
	message[2] = 100
	finished := make(chan struct{})
	rounds := 0
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if rounds++; rounds == 1 {
			go echo(server, finished)
		}
		if _, err := user.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(user, message); err != nil {
			b.Fatal(err)
		}
	}
	message[3] = 'q'
	_, _ = user.Write(message)
	<-finished
}

// reportCPU reports what all threads spent, which other work on the machine
// changes less than the time that passed. (Client and server are in it.)
func reportCPU(b *testing.B) func() {
	before := processorTime(b)
	return func() { b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

// echo answers until it is told to quit.
func echo(c io.ReadWriter, finished chan<- struct{}) {
	defer close(finished)
	message := make([]byte, 100)
	for {
		if _, err := io.ReadFull(c, message); err != nil || message[3] == 'q' {
			return
		}
		if _, err := c.Write(message); err != nil {
			return
		}
	}
}

// BenchmarkLend is what it costs to hand a session over and to get it back.
func BenchmarkLend(b *testing.B) {
	for _, w := range ways() {
		b.Run(w.name, func(b *testing.B) {
			r := newRig(b, w)
			s := &script{safe: func() bool { return true }}
			b.ReportAllocs()
			back := make(chan Return)
			defer reportCPU(b)()
			for b.Loop() {
				r.lender.Lend(r.ends, s, func(x Return) { back <- x }).Recall()
				r.ends = (<-back).Ends
			}
			_ = r.ends.Client.Close()
			_ = r.ends.Backend.Close()
		})
	}
}
