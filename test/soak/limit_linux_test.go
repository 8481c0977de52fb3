package soak_test

import "syscall"

// limitFiles lets the process open only so many descriptors more, until restore.
func limitFiles(more int) (restore func()) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		panic(err)
	}
	set := func(limit syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			panic(err)
		}
	}
	set(syscall.Rlimit{Cur: min(old.Cur, uint64(openFiles()+more)), Max: old.Max})
	return func() { set(old) }
}
