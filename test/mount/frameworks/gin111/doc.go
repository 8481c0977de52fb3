// Package gin111 runs the gin test of module frameworks against gin v1.11.0, the last that refuses a hijack after
// WriteHeader. It has no code to import.
package gin111
