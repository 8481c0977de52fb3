package frameworks_test

// echo, version 4.

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"example.com/hail/test/mount/frameworks/internal/rig"
)

func echo4() rig.Framework {
	return rig.Framework{Name: "echo v4", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		e := echo.New()
		e.Use(middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
			LogURIPath: true, LogStatus: true,
			LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
				fmt.Fprintln(hooks.AccessLog, v.URIPath, v.Status)
				return nil
			},
		}))
		e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{
			LogErrorFunc: func(_ echo.Context, err error, _ []byte) error {
				hooks.Recovered(err)
				return err
			},
		}))
		e.Use(middleware.Gzip())
		e.GET("/panic", echo.WrapHandler(http.HandlerFunc(rig.Panic)))
		e.GET("/rooms/:room/ws", echo.WrapHandler(ws), echo4Auth, echo4PathValue)
		return e
	}}
}

// echo4Auth is rig.Auth in echo's words.
func echo4Auth(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		user, ok := rig.Authenticate(c.Request())
		if !ok {
			return echo.ErrUnauthorized
		}
		c.SetCookie(rig.NewCookie())
		c.SetRequest(c.Request().WithContext(rig.WithUser(c.Request().Context(), user)))
		return next(c)
	}
}

// echo4PathValue passes the parameter on to what knows no echo.Context.
func echo4PathValue(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Request().SetPathValue("room", c.Param("room"))
		return next(c)
	}
}
