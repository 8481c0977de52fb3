//go:build !linux

package soak_test

// limitFiles does nothing, except on Linux.
func limitFiles(int) (restore func()) { return func() {} }
