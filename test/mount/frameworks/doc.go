// Package frameworks proves that a hail server can be mounted wherever an http.Handler can: its tests run one list of
// expectations, internal/rig, against routers and middleware in use. It has no code to import.
//
// The module is apart from hail's, so that their dependencies do not become those of hail's importers.
package frameworks
