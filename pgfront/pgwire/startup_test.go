package pgwire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// packet is a length and what follows it.
func packet(body string) []byte {
	n := len(body) + 4
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func TestReadStartup(t *testing.T) {
	v30, v32 := "\x00\x03\x00\x00", "\x00\x03\x00\x02"
	for _, c := range []struct {
		name  string
		bytes []byte
		want  *Startup
		err   error
	}{
		{"plain", packet(v30 + "user\x00ann\x00database\x00shop\x00\x00"),
			&Startup{Version: Version30, Parameters: []Parameter{{"user", "ann"}, {"database", "shop"}}}, nil},
		{"nothing asked", packet(v30 + "\x00"), &Startup{Version: Version30}, nil},
		{"3.2 with a protocol option", packet(v32 + "user\x00ann\x00_pq_.command_tag_format\x00x\x00\x00"),
			&Startup{Version: Version30 + 2, Parameters: []Parameter{{"user", "ann"}}, Unsupported: []string{"_pq_.command_tag_format"}}, nil},
		{"protocol 2", packet("\x00\x02\x00\x00whatever"), &Startup{Version: 2 << 16}, nil},
		{"ssl", packet("\x04\xd2\x16\x2f"), &Startup{Kind: SSLRequest}, nil},
		{"gss", packet("\x04\xd2\x16\x30"), &Startup{Kind: GSSEncRequest}, nil},
		{"cancel", packet("\x04\xd2\x16\x2e\x00\x00\x00\x07\x00\x00\x00\x09"), &Startup{Kind: CancelRequest, Cancel: Key{7, 9}}, nil},
		{"cancel with a long key", packet("\x04\xd2\x16\x2e\x00\x00\x00\x07\x00\x00\x00\x09\x00\x00"),
			&Startup{Kind: CancelRequest, Cancel: Key{7, 9}, LongKey: true}, nil},
		{"tls", []byte("\x16\x03\x01\x02"), &Startup{Kind: DirectTLS, Prefix: []byte("\x16\x03\x01\x02")}, nil},
		{"ssl with a tail", packet("\x04\xd2\x16\x2fX"), nil, ErrStartupLength},
		{"short cancel", packet("\x04\xd2\x16\x2e\x00\x00\x00\x07"), nil, ErrStartupLength},
		{"no terminator", packet(v30 + "user\x00ann\x00"), nil, ErrStartupLayout},
		{"name without value", packet(v30 + "user\x00"), nil, ErrStartupLayout},
		{"tail behind the terminator", packet(v30 + "user\x00ann\x00\x00x"), nil, ErrStartupLayout},
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), nil, ErrStartupLength},
		{"too short", []byte("\x00\x00\x00\x07\x00\x03\x00"), nil, ErrStartupLength},
		{"too long", []byte("\x00\x00\x27\x15"), nil, ErrStartupLength},
		{"promises gigabytes", []byte("\x7f\xff\xff\xff"), nil, ErrStartupLength},
		{"torn", packet(v30 + "user\x00")[:9], nil, io.ErrUnexpectedEOF},
		{"nothing", nil, nil, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadStartup(iotest.OneByteReader(bytes.NewReader(c.bytes)))
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestReadStartupReadsNoFurther(t *testing.T) {
	r := bytes.NewReader(append(packet("\x04\xd2\x16\x2f"), "smuggled"...))
	if _, err := ReadStartup(r); err != nil || r.Len() != len("smuggled") {
		t.Errorf("%v, %d bytes left", err, r.Len())
	}
}

func TestStartupLastValueCounts(t *testing.T) {
	s := &Startup{Parameters: []Parameter{{"user", "a"}, {"user", "b"}}}
	if s.Get("user") != "b" || s.Get("database") != "" {
		t.Errorf("user %q, database %q", s.Get("user"), s.Get("database"))
	}
}

func TestEncoders(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"startup":     {AppendStartup(nil, []Parameter{{"user", "a"}}), "00000010" + "00030000" + "7573657200" + "6100" + "00"},
		"ssl":         {AppendSSLRequest(nil), "0000000804d2162f"},
		"cancel":      {AppendCancel(nil, Key{1, 2}), "0000001004d2162e0000000100000002"},
		"negotiate":   {AppendNegotiateVersion(nil, []string{"_pq_.x"}), "76000000130003000000000001" + hex.EncodeToString([]byte("_pq_.x")) + "00"},
		"key":         {AppendBackendKeyData(nil, Key{1, 2}), "4b0000000c0000000100000002"},
		"parameter":   {AppendParameterStatus(nil, "a", "b"), "530000000861006200"},
		"ready":       {AppendReady(nil, 'T'), "5a0000000554"},
		"terminate":   {AppendTerminate(nil), "5800000004"},
		"any message": {AppendMessage([]byte{9}, 'Q', []byte("x")), "09" + "5100000005" + "78"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzStartup(f *testing.F) {
	f.Add(packet("\x00\x03\x00\x00user\x00ann\x00options\x00-c endpoint=x\x00\x00"))
	f.Add(packet("\x04\xd2\x16\x2e\x00\x00\x00\x07\x00\x00\x00\x09\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadStartup(bytes.NewReader(b))
		if err != nil || s.Kind != StartupMessage || s.Version != Version30 || s.Unsupported != nil {
			return
		}
		again, err := ReadStartup(bytes.NewReader(AppendStartup(nil, s.Parameters)))
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
		CutOptions(s.Get("options"), "endpoint", "instance")
	})
}

func TestCutOptions(t *testing.T) {
	for _, c := range []struct{ options, rest, endpoint, instance string }{
		{"", "", "", ""},
		{"endpoint=shop", "", "shop", ""},
		{"-c endpoint=shop", "", "shop", ""},
		{"-cendpoint=shop", "", "shop", ""},
		{"--endpoint=shop", "", "shop", ""},
		{"  -c  endpoint=shop  ", "", "shop", ""},
		{"-c geqo=off -c endpoint=shop -c work_mem=4MB", "-c geqo=off -c work_mem=4MB", "shop", ""},
		{"endpoint=shop instance=shop-1 -e", "-e", "shop", "shop-1"},
		{`-c search_path=a\ b endpoint=x`, `-c search_path=a\ b`, "x", ""},
		{`-c a=endpoint=x`, `-c a=endpoint=x`, "", ""},
		{`-c a=\\ endpoint=y`, `-c a=\\`, "y", ""},
		{`endpoint=a\ b`, "", "a b", ""},
		{"  -c   geqo=off ", "  -c   geqo=off ", "", ""},
		{"-c", "-c", "", ""},
		{"-c endpoint", "-c endpoint", "", ""},
		{"--ENDPOINT=x", "", "x", ""},
		{"endpoint=", "", "", ""},
	} {
		rest, found := CutOptions(c.options, "endpoint", "instance")
		if rest != c.rest || found["endpoint"] != c.endpoint || found["instance"] != c.instance {
			t.Errorf("%q: rest %q, %v", c.options, rest, found)
		}
	}
}

func TestReader(t *testing.T) {
	stream := append(append(AppendMessage(nil, 'p', []byte("secret")), AppendMessage(nil, 'Q', bytes.Repeat([]byte("x"), 5000))...), "rest of it"...)
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)))
	kind, body, err := r.Next(100)
	if kind != 'p' || string(body) != "secret" || err != nil {
		t.Fatalf("%q %q %v", kind, body, err)
	}
	if kind, body, err = r.Next(10000); kind != 'Q' || len(body) != 5000 || err != nil {
		t.Fatalf("%q, %d bytes, %v", kind, len(body), err)
	}
	if _, _, err := r.Next(100); !errors.Is(err, ErrMessageLength) {
		t.Errorf("a header that promises too much: %v", err)
	}
	if rest := r.Rest(); !strings.HasPrefix("rest of it", string(rest)) || len(rest) == 0 {
		t.Errorf("rest %q", rest)
	}
}

func TestReaderLimits(t *testing.T) {
	for _, c := range []struct {
		bytes string
		err   error
	}{
		{"p\x00\x00\x00\x03", ErrMessageLength},
		{"p\x00\x00\x01\x00", ErrMessageLength},
		{"p\xff\xff\xff\xff", ErrMessageLength},
		{"p\x00\x00", io.ErrUnexpectedEOF},
		{"p\x00\x00\x00\x08ab", io.ErrUnexpectedEOF},
		{"", io.EOF},
	} {
		if _, _, err := NewReader(strings.NewReader(c.bytes)).Next(100); !errors.Is(err, c.err) {
			t.Errorf("%q: %v, want %v", c.bytes, err, c.err)
		}
	}
}
