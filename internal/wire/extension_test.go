package wire_test

// Offers of extensions, and list headers.

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/hail/internal/wire"
)

func TestParseExtensions(t *testing.T) {
	t.Parallel()
	type list = []wire.Extension
	type params = []wire.Param
	for name, tt := range map[string]struct {
		values []string
		want   list
	}{
		"no header":            {nil, nil},
		"one":                  {[]string{"foo"}, list{{Name: "foo"}}},
		"parameters":           {[]string{"foo; a; b=1;c=x"}, list{{"foo", params{{"a", "", false}, {"b", "1", true}, {"c", "x", true}}}}},
		"several":              {[]string{"foo, bar;a,foo"}, list{{Name: "foo"}, {"bar", params{{"a", "", false}}}, {Name: "foo"}}},
		"several lines":        {[]string{"foo", "bar; baz=2"}, list{{Name: "foo"}, {"bar", params{{"baz", "2", true}}}}},
		"white space":          {[]string{" \tfoo\t ;\ta = 1 , bar "}, list{{"foo", params{{"a", "1", true}}}, {Name: "bar"}}},
		"empty elements":       {[]string{",, foo ,, bar,"}, list{{Name: "foo"}, {Name: "bar"}}},
		"a quoted value":       {[]string{`foo; a="1"`}, list{{"foo", params{{"a", "1", true}}}}},
		"a value with escapes": {[]string{`foo; a="\1\5"`}, list{{"foo", params{{"a", "15", true}}}}},
		"every byte of tokens": {[]string{"!#$%&'*+-.^_`|~09azAZ"}, list{{Name: "!#$%&'*+-.^_`|~09azAZ"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := wire.ParseExtensions(tt.values)
			if !ok || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseExtensions(%q) = %v, %v, want %v, true", tt.values, got, ok, tt.want)
			}
		})
	}
	for _, v := range []string{"", " ", ",", ";", "foo;", "foo; ;a", "foo;=1", "foo; a=", "foo; a=,", "foo bar", "foo; a b", "foo; a=1 2",
		"foo; a==1", "foo=1", `"foo"`, `foo; "a"`, `foo; a="`, `foo; a=""`, `foo; a="1`, `foo; a="1\`, `foo; a="1 2"`, `foo; a="1,2"`, `foo; a="1"2`,
		`foo; a=1"2"`, "foo\x80", "foo; a=\xff", "foo\x00", "fo\x7fo", "foo/1", "foo; a=(1)", "ſoo"} {
		t.Run(fmt.Sprintf("malformed %q", v), func(t *testing.T) {
			t.Parallel()
			for _, values := range [][]string{{v}, {v, v}} {
				if got, ok := wire.ParseExtensions(values); ok {
					t.Errorf("ParseExtensions(%q) = %v, true, want false", values, got)
				}
			}
			if got, ok := wire.ParseExtensions([]string{"foo", "foo, " + v + "x y"}); ok {
				t.Errorf("ParseExtensions of it behind others = %v, true, want false", got)
			}
		})
	}
}

func TestParseTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []string
		want   []string
	}{
		{nil, nil},
		{[]string{"chat"}, []string{"chat"}},
		{[]string{"chat, v1.chat", " superchat\t"}, []string{"chat", "v1.chat", "superchat"}},
		{[]string{",chat,,chat,"}, []string{"chat", "chat"}},
	} {
		if got, ok := wire.ParseTokens(tt.values); !ok || !slices.Equal(got, tt.want) {
			t.Errorf("ParseTokens(%q) = %q, %v, want %q, true", tt.values, got, ok, tt.want)
		}
	}
	for _, v := range []string{"", " ", ",", "a b", "a;b", "a=b", `"a"`, "a/b", "a,b c", "\x80", "a\x00", "ſ", "a, b@"} {
		if got, ok := wire.ParseTokens([]string{v}); ok {
			t.Errorf("ParseTokens(%q) = %q, true, want false", v, got)
		}
	}
}

func TestAcceptDeflate(t *testing.T) {
	t.Parallel()
	const agreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	type tests map[string]struct {
		offer string
		want  string // "" if it is declined
	}
	cases := tests{
		"plain":                          {"permessage-deflate", agreed},
		"as browsers do":                 {"permessage-deflate; client_max_window_bits", agreed},
		"all without a value":            {"permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits", agreed},
		"a quoted number":                {`permessage-deflate; client_max_window_bits="10"; server_max_window_bits="1\5"`, agreed + "; server_max_window_bits=15"},
		"the second of two":              {"permessage-deflate; x, permessage-deflate; server_max_window_bits=15", agreed + "; server_max_window_bits=15"},
		"the first of two":               {"permessage-deflate; server_max_window_bits=15, permessage-deflate", agreed + "; server_max_window_bits=15"},
		"after a smaller window":         {"permessage-deflate; server_max_window_bits=12, permessage-deflate", agreed},
		"after another extension":        {"x-webkit-deflate-frame; no_context_takeover, permessage-deflate", agreed},
		"an unknown parameter":           {"permessage-deflate; x", ""},
		"an unknown parameter, value":    {"permessage-deflate; server_window=15", ""},
		"another extension":              {"permessage-bzip2", ""},
		"another extension's parameters": {"foo; server_max_window_bits=15", ""},
		"name in other case":             {"Permessage-Deflate", ""},
		"nothing":                        {",", ""},
	}
	for bits := -1; bits <= 33; bits++ {
		tt := cases["an unknown parameter"]
		if tt.offer = fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits); bits == 15 {
			tt.want = agreed + "; server_max_window_bits=15"
		}
		cases[fmt.Sprint("server's window of ", bits)] = tt
		tt = cases["an unknown parameter"]
		if tt.offer = fmt.Sprintf("permessage-deflate; client_max_window_bits=%d", bits); bits >= 8 && bits <= 15 {
			tt.want = agreed
		}
		cases[fmt.Sprint("client's window of ", bits)] = tt
	}
	for _, wrong := range []string{"server_max_window_bits", "server_max_window_bits=08", "server_max_window_bits=0x9", "server_max_window_bits=%2B9",
		"server_max_window_bits=9.0", "server_max_window_bits=+9", "server_max_window_bits=9223372036854775816", "client_max_window_bits=08",
		"client_max_window_bits=true", "server_no_context_takeover=1", "client_no_context_takeover=true", `server_no_context_takeover="1"`,
		"server_max_window_bits=15; server_max_window_bits=15", "client_max_window_bits; client_max_window_bits=10",
		"server_no_context_takeover; server_no_context_takeover", "client_no_context_takeover; x; client_no_context_takeover"} {
		tt := cases["an unknown parameter"]
		tt.offer = "permessage-deflate; " + wrong
		cases["wrong "+wrong] = tt
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			offers, _ := wire.ParseExtensions(strings.SplitAfter(tt.offer, ", "))
			got, ok := wire.AcceptDeflate(offers)
			if ok != (tt.want != "") {
				t.Fatalf("%s: accepted is %v, want %v", tt.offer, ok, !ok)
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.offer, got, tt.want)
			}
		})
	}
}

func TestListsThatAreTooLong(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"offers":     strings.Repeat("a,", maxParts+1),
		"parameters": "a" + strings.Repeat(";b", maxParts),
		"both":       strings.Repeat("a;b,", maxParts/2+1),
	} {
		if _, ok := wire.ParseExtensions([]string{list}); ok {
			t.Errorf("ParseExtensions took a list of too many %s", name)
		}
	}
	if _, ok := wire.ParseTokens([]string{strings.Repeat("a,", maxParts+1)}); ok {
		t.Error("ParseTokens took a list of too many tokens")
	}
	for _, list := range []string{strings.Repeat("a,", maxParts), "a" + strings.Repeat(";b", maxParts-1), strings.Repeat("a;b,", maxParts/2)} {
		if _, ok := wire.ParseExtensions([]string{list}); !ok {
			t.Errorf("ParseExtensions did not take %d parts: %s", maxParts, list)
		}
	}
	if _, ok := wire.ParseTokens([]string{strings.Repeat("a,", maxParts-1), "b"}); !ok {
		t.Errorf("ParseTokens did not take %d tokens", maxParts)
	}
}

// maxParts is how many parts a list may have.
const maxParts = 100

// few reports whether lists have no more, parameters among them.
func few(lists []string) bool {
	n := 0
	for _, part := range strings.FieldsFunc(strings.Join(lists, ","), func(r rune) bool { return r == ',' || r == ';' }) {
		if strings.Trim(part, " \t") != "" {
			n++
		}
	}
	return n <= maxParts
}

// FuzzExtensions checks lists against their grammar (RFC 6455 section 9.1), and the response against the offers.
func FuzzExtensions(f *testing.F) {
	const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
	list := func(element string) *regexp.Regexp {
		return regexp.MustCompile(`^[ \t,]*(` + element + `([ \t]*,[ \t,]*` + element + `)*[ \t,]*)?$`)
	}
	tokens := list(token)
	extensions := list(token + `([ \t]*;[ \t]*` + token + `([ \t]*=[ \t]*(` + token + `|"(\\?` + strings.TrimSuffix(token, "+") + `)+"))?)*`)
	response := regexp.MustCompile(`^permessage-deflate; client_no_context_takeover; server_no_context_takeover(; server_max_window_bits=15)?$`)
	for _, seed := range []string{"", "foo", "foo; a=1, bar", `permessage-deflate; client_max_window_bits="1\5"`, "permessage-deflate; server_max_window_bits=10, foo", "permessage-deflate; server_max_window_bits=15",
		",, foo", "foo;", `foo; a="`, "chat, superchat", strings.Repeat("a,", 120), "a" + strings.Repeat(";b", 120)} {
		f.Add(seed, "foo; bar")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{first, second}
		if slices.ContainsFunc(lines, func(s string) bool { return strings.ContainsAny(s, "\r\n") }) {
			t.Skip("no line")
		}
		empty := strings.Trim(first+second, " \t,") == ""
		if _, ok := wire.ParseTokens(lines); ok != (!empty && few(lines) && tokens.MatchString(first) && tokens.MatchString(second)) {
			t.Errorf("ParseTokens(%q): %v, want %v", lines, ok, !ok)
		}
		offers, ok := wire.ParseExtensions(lines)
		if ok != (!empty && few(lines) && extensions.MatchString(first) && extensions.MatchString(second)) {
			t.Errorf("ParseExtensions(%q): %v, want %v", lines, ok, !ok)
		}
		got, accepted := wire.AcceptDeflate(offers)
		if accepted && (!response.MatchString(got) || !strings.Contains(first+second, "permessage-deflate")) {
			t.Errorf("AcceptDeflate(%q) = %q", lines, got)
		}
		if bits := strings.Contains(got, "bits"); accepted && bits && !strings.Contains(first+second, "server_max_window_bits") {
			t.Errorf("AcceptDeflate(%q) = %q with a window that was not offered", lines, got)
		}
	})
}
