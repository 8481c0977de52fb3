package admit_test

// ResponseWriters that cannot be hijacked, and their names in the log.

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/hail/internal/admit"
)

type opaque struct{ http.ResponseWriter }

type open struct{ http.ResponseWriter }

func (w open) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type hijacker struct{ http.ResponseWriter }

func (hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("no") }

func TestNotHijackable(t *testing.T) {
	t.Parallel()
	unsupported := fmt.Errorf("feature: %w", http.ErrNotSupported)
	inner := httptest.NewRecorder()
	for _, tc := range []struct {
		w          http.ResponseWriter
		err        error
		name, hint string
	}{
		{inner, unsupported, "*httptest.ResponseRecorder", "Unwrap method"},
		{opaque{inner}, unsupported, "admit_test.opaque", "Unwrap method"},
		{open{inner}, unsupported, "*httptest.ResponseRecorder", "Unwrap method"},
		{open{open{opaque{open{inner}}}}, unsupported, "admit_test.opaque", "Unwrap method"},
		{open{hijacker{inner}}, errors.New("hijacked already"), "admit_test.hijacker", "hijacked already"},
	} {
		got := admit.NotHijackable(tc.w, tc.err)
		if want := tc.name + " cannot be hijacked: "; got.Status != http.StatusNotImplemented || !strings.HasPrefix(got.Detail, want) || !strings.Contains(got.Detail, tc.hint) {
			t.Errorf("%T: got %+v, want 501 with a detail %q... and %q", tc.w, *got, want, tc.hint)
		}
		if strings.Contains(got.Text, tc.name) {
			t.Errorf("%T: the client is told %q", tc.w, got.Text)
		}
	}
	var got *admit.Refusal
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { got = admit.NotHijackable(w, unsupported) })
	http.TimeoutHandler(h, time.Minute, "").ServeHTTP(inner, handshake())
	if !strings.Contains(got.Detail, "(http.TimeoutHandler)") {
		t.Errorf("got %q, want http.TimeoutHandler named", got.Detail)
	}
}
