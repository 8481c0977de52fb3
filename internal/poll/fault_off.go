//go:build !hailfault || !linux

package poll

// Injects reports that this build has no faults: see fault_linux.go.
const Injects = false

// Faults says how often a system call fails, if the build has faults.
type Faults struct{ Short, Blocked, Reset, Slow, NoFile int }

// Inject does nothing.
func Inject(Faults, uint64) (seen int) { return 0 }
