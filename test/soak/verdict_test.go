package soak_test

// How a round ends, and the judgement of it.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// end ends the server, and returns the errors of its end.
func (rd *round) end(r *rand.Rand, calm bool) (wrong []string) {
	s := rd.server
	result := make(chan error, 1)
	how := r.IntN(3)
	start, timeout := time.Now(), patience*3/4
	if how == 1 && !calm {
		timeout = time.Duration(r.IntN(100)) * time.Millisecond
	}
	go func() { // waited for below
		if how == 2 && !calm {
			result <- s.Close()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		result <- s.Shutdown(ctx)
	}()
	err, ended := rd.patiently(result, start)
	if !ended {
		var b strings.Builder
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		s.Close()
		return append(wrong, fmt.Sprintf("the server has not ended within %v:\n%s", time.Since(start), b.String()))
	}
	if calm && err != nil && rd.lateness.most(start, time.Now()) < timeout/20 {
		wrong = append(wrong, fmt.Sprintf("the server's end, with peers that answer or are cut in time: %v", err))
	}
	// On a busy machine callbacks may last longer than CloseTimeout. Then the error tells of them.
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "callbacks still run") {
		wrong = append(wrong, fmt.Sprintf("the server's end: %v", err))
	}
	for limit := time.Now().Add(patience); s.Close() != nil; {
		if time.Now().After(limit) {
			wrong = append(wrong, fmt.Sprintf("callbacks still run after %v", patience))
			break
		}
	}
	return wrong
}

// patiently waits for the result of a call that began at start. It waits longer if goroutines of the process run late, as on a
// busy machine with the race detector.
func (rd *round) patiently(result chan error, start time.Time) (err error, came bool) {
	for range 10 {
		select {
		case err := <-result:
			return err, true
		case <-time.After(patience):
		}
		if rd.lateness.most(start, time.Now()) < patience/100 {
			break
		}
	}
	return nil, false
}

// judge compares the server's counters with those of the connections.
func (rd *round) judge(calm bool) (wrong []string) {
	wrong = append(wrong, rd.stray...)
	st := rd.server.Stats()
	var sent, received, told, ended uint64
	for _, f := range rd.fates {
		wrong = append(wrong, f.judge(calm)...)
		for _, n := range f.sent {
			sent += uint64(len(n))
		}
		received += uint64(f.received)
		told += uint64(f.undelivered())
		ended += uint64(f.ends)
	}
	var closed uint64
	for _, n := range st.Closed {
		closed += n
	}
	for _, book := range []struct {
		name      string
		got, want uint64
	}{
		{"Open", uint64(st.Open), 0}, {"Len", uint64(rd.server.Len()), 0}, {"Closed", closed, st.Accepted}, {"Sent", st.Sent, sent},
		{"Published", st.Published, uint64(rd.published.Load())}, {"Received", st.Received, received}, {"Undelivered", st.Undelivered, told}, {"Panics", st.Panics, uint64(rd.panics.Load())},
	} {
		if book.got != book.want {
			wrong = append(wrong, fmt.Sprintf("Stats.%s: got %d, want %d", book.name, book.got, book.want))
		}
	}
	for topic, n := range rd.server.Topics() {
		if n > 0 || rd.history == 0 {
			wrong = append(wrong, fmt.Sprintf("topic %s is left with %d connections", topic, n))
		}
	}
	return wrong
}

// left returns an error if there are more of something than before, after they had time to go.
func left(what string, before int, count func() int) []string {
	n := count()
	for limit := time.Now().Add(5 * time.Second); n > before && time.Now().Before(limit); n = count() {
		time.Sleep(5 * time.Millisecond)
	}
	switch {
	case n > before && what == "goroutines":
		var b strings.Builder
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		return []string{fmt.Sprintf("%d goroutines are left over %d:\n%s", n, before, b.String())}
	case n > before, what == "buffers" && n < before:
		return []string{fmt.Sprintf("%s: got %d in the end, had %d before", what, n, before)}
	}
	return nil
}

// openFiles returns how many descriptors are open. Those of a server's epoll set end with its memory.
func openFiles() int {
	runtime.GC()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
