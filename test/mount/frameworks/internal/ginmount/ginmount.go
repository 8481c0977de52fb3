// Package ginmount mounts a hail server in gin, of the version that the importing module chooses.
package ginmount

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"example.com/hail/test/mount/frameworks/internal/rig"
)

// Framework returns gin with its logger and its recovery.
func Framework() rig.Framework {
	return rig.Framework{Name: "gin " + gin.Version, Mount: mount}
}

func mount(ws http.Handler, hooks rig.Hooks) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.LoggerWithWriter(hooks.AccessLog))
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, v any) {
		hooks.Recovered(v)
		c.AbortWithStatus(http.StatusInternalServerError)
	}))
	r.GET("/panic", gin.WrapF(rig.Panic))
	r.GET("/rooms/:room/ws", auth, pathValue("room"), gin.WrapH(ws))
	return r
}

// auth is rig.Auth in gin's words.
func auth(c *gin.Context) {
	user, ok := rig.Authenticate(c.Request)
	if !ok {
		c.AbortWithStatus(http.StatusUnauthorized)
		return
	}
	cookie := rig.NewCookie()
	c.SetCookie(cookie.Name, cookie.Value, 0, cookie.Path, "", false, false)
	c.Request = c.Request.WithContext(rig.WithUser(c.Request.Context(), user))
}

// pathValue passes a parameter on to what knows no gin.Context.
func pathValue(name string) gin.HandlerFunc {
	return func(c *gin.Context) { c.Request.SetPathValue(name, c.Param(name)) }
}
