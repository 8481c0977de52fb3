package admit

// ResponseWriters that cannot be hijacked.

import (
	"errors"
	"fmt"
	"net/http"
)

// NotHijackable returns the refusal of a request whose ResponseWriter cannot be hijacked. err is Hijack's error.
func NotHijackable(w http.ResponseWriter, err error) *Refusal {
	hint := "middleware in front hides http.Hijacker: give its ResponseWriter an Unwrap method, or mount hail outside it"
	if !errors.Is(err, http.ErrNotSupported) {
		hint = err.Error()
	}
	refusal := refuse(http.StatusNotImplemented, "this server cannot upgrade connections here")
	refusal.Detail = fmt.Sprintf("%s cannot be hijacked: %s", writerName(w), hint)
	return refusal
}

// writerName names the ResponseWriter that prevents it: the first that has a
// Hijack of its own, or the innermost that can be reached.
func writerName(w http.ResponseWriter) string {
	for {
		if _, ok := w.(http.Hijacker); ok {
			break
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	name := fmt.Sprintf("%T", w)
	if name == "*http.timeoutWriter" {
		name += " (http.TimeoutHandler)"
	}
	return name
}
