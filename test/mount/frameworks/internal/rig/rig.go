// Package rig holds a framework to what hail promises of a server that is mounted in it.
package rig

// What a framework has to provide, and what it is given for that.

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Framework is a router with its middleware.
type Framework struct {
	Name string

	// Mount returns a service with two routes, each behind the framework's own access log and recovery, and its
	// compression where it has one:
	//
	//	GET {Prefix}/rooms/{room}/ws   ws, behind a middleware that does what Auth does; room is a path value
	//	GET {Prefix}/panic             Panic
	Mount func(ws http.Handler, hooks Hooks) http.Handler

	// Prefix is in front of every path. Default: none.
	Prefix string
}

// Hooks are what a framework's middleware reports to.
type Hooks struct {
	AccessLog io.Writer   // gets a line for each request, with its path
	Recovered func(v any) // is told of each panic that the framework recovers
}

// Panic is a handler that does.
func Panic(http.ResponseWriter, *http.Request) { panic("rig: a handler's panic") }

// Auth lets requests through that carry a token in the query or a session in a cookie, with their user in the
// context and a cookie in the response; others get 401.
func Auth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := Authenticate(r)
		if !ok {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, NewCookie())
		next.ServeHTTP(w, r.WithContext(WithUser(r.Context(), user)))
	})
}

// Authenticate returns the request's user.
func Authenticate(r *http.Request) (user string, ok bool) {
	if r.URL.Query().Get("token") == "t-anna" {
		return "anna", true
	}
	if c, err := r.Cookie("session"); err == nil && c.Value == "s-berta" {
		return "berta", true
	}
	return "", false
}

// NewCookie returns the cookie that Auth sets.
func NewCookie() *http.Cookie { return &http.Cookie{Name: "seen", Value: "yes", Path: "/"} }

type userKey struct{}

// WithUser returns ctx with a user.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns the context's user, "" for none.
func User(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// AccessLog writes a line for each request when next has returned. It is for frameworks without an access log.
func AccessLog(to io.Writer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path := r.Method, r.URL.Path
		defer func() { fmt.Fprintln(to, method, path) }()
		next.ServeHTTP(w, r)
	})
}

// Recover answers a panic of next with 500. It is for frameworks without recovery.
func Recover(recovered func(v any), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				recovered(v)
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
