package config

import (
	"fmt"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// span is the limits of a number or a duration, both ends in.
type span[T int | float64 | time.Duration] struct{ least, most T }

func (r span[T]) String() string { return fmt.Sprintf("%v to %v", r.least, r.most) }

// text reads a scalar as it is written.
func (s *section) text(key string, into *string) {
	n := s.value(key)
	if n == nil {
		return
	}
	words, ok := scalar(n)
	if !ok {
		s.wrong(key, "this is "+kind(n), "text is wanted")
		return
	}
	*into = words
}

// scalar is the text of a node that holds one value.
func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return v.GetToken().Value, true
	}
	return "", false
}

func (s *section) oneOf(key string, into *string, words ...string) {
	given := *into
	s.text(key, &given)
	if slices.Contains(words, given) {
		*into = given
		return
	}
	wrong, right := fmt.Sprintf("%q is not known", given), "one of "+strings.Join(words, ", ")
	if !s.has(key) {
		wrong = "missing"
	}
	s.wrong(key, wrong, right)
}

func (s *section) truth(key string, into *bool) {
	n := s.value(key)
	if n == nil {
		return
	}
	b, ok := n.(*ast.BoolNode)
	if !ok {
		s.wrong(key, "this is "+kind(n), "true or false, without quotes")
		return
	}
	*into = b.Value
}

func (s *section) integer(key string, into *int, limits span[int]) {
	n := s.value(key)
	if n == nil {
		return
	}
	words, _ := scalar(n)
	i, err := strconv.Atoi(words)
	if _, isNumber := n.(*ast.IntegerNode); !isNumber || err != nil {
		s.wrong(key, "not a whole number", limits.String())
		return
	}
	if i < limits.least || i > limits.most {
		s.wrong(key, fmt.Sprintf("%d is out of range", i), limits.String())
		return
	}
	*into = i
}

func (s *section) decimal(key string, into *float64, limits span[float64]) {
	n := s.value(key)
	if n == nil {
		return
	}
	words, _ := scalar(n)
	f, err := strconv.ParseFloat(words, 64)
	if err != nil || math.IsNaN(f) {
		s.wrong(key, "not a number", limits.String())
		return
	}
	if f < limits.least || f > limits.most {
		s.wrong(key, words+" is out of range", limits.String())
		return
	}
	*into = f
}

// duration reads "10s"; 0 needs no unit.
func (s *section) duration(key string, into *time.Duration, limits span[time.Duration]) {
	n := s.value(key)
	if n == nil {
		return
	}
	words, _ := scalar(n)
	d, err := time.ParseDuration(words)
	if err != nil {
		s.wrong(key, fmt.Sprintf("%q is not a duration", words), "a number and a unit such as 500ms, 10s, 5m or 2h")
		return
	}
	if d < limits.least || d > limits.most {
		s.wrong(key, fmt.Sprintf("%v is out of range", d), limits.String())
		return
	}
	*into = d
}

// durationOrOff is duration, or Off for "off".
func (s *section) durationOrOff(key string, into *time.Duration, limits span[time.Duration]) {
	if words, _ := scalar(s.value(key)); words == "off" || words == "false" {
		*into = Off
		return
	}
	s.duration(key, into, limits)
}

// seconds reads a whole number of seconds.
func (s *section) seconds(key string, into *time.Duration, limits span[int]) {
	n := int(*into / time.Second)
	s.integer(key, &n, limits)
	*into = time.Duration(n) * time.Second
}

// texts reads a list of texts.
func (s *section) texts(key string, into *[]string) {
	n := s.value(key)
	if n == nil {
		return
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s.wrong(key, "this is "+kind(n), "a list of texts: [one, two]")
		return
	}
	all := make([]string, 0, len(list.Values))
	for i, item := range list.Values {
		words, ok := scalar(s.r.plain(item))
		if !ok {
			s.wrong(fmt.Sprintf("%s[%d]", key, i), "this is "+kind(s.r.plain(item)), "text is wanted")
			continue
		}
		all = append(all, words)
	}
	*into = all
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([KMGT]i?B|kB|B)$`)

var sizeUnits = map[string]float64{
	"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// size reads "2GiB".
func (s *section) size(key string, into *int64) {
	n := s.value(key)
	if n == nil {
		return
	}
	words, _ := scalar(n)
	parts := sizeForm.FindStringSubmatch(words)
	if parts == nil {
		s.wrong(key, fmt.Sprintf("%q is not a size", words), "a number and a unit such as 512MiB or 2GiB")
		return
	}
	f, _ := strconv.ParseFloat(parts[1], 64)
	f *= sizeUnits[parts[2]]
	if f < 64<<20 || f > 1<<50 {
		s.wrong(key, words+" is out of range", "64MiB to 1024TiB")
		return
	}
	*into = int64(f)
}

// address reads HOST:PORT. Port 0 is any free one.
func (s *section) address(key string, into *string) {
	before := *into
	s.text(key, into)
	if err := checkAddress(*into); err != nil {
		wrong := err.Error()
		if *into == "" {
			wrong = "missing"
		}
		s.wrong(key, wrong, `an address and a port such as "127.0.0.1:5432"; all addresses are "0.0.0.0:5432" or "[::]:5432"`)
		*into = before
	}
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q is no port", port)
	}
	if host != "" && net.ParseIP(host) == nil && !hostName.MatchString(host) {
		return fmt.Errorf("%q is neither an IP address nor a host name", host)
	}
	return nil
}

var (
	hostName    = regexp.MustCompile(`^(?i)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*$`)
	clusterName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	currency    = regexp.MustCompile(`^[A-Z]{3}$`)
)
