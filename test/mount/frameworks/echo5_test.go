package frameworks_test

// echo, version 5.

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"example.com/hail/test/mount/frameworks/internal/rig"
)

func echo5() rig.Framework {
	return rig.Framework{Name: "echo v5", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		e := echo.New()
		handle := e.HTTPErrorHandler
		e.HTTPErrorHandler = func(c *echo.Context, err error) {
			// Recover has made an error of the panic.
			var p *middleware.PanicStackError
			if errors.As(err, &p) {
				hooks.Recovered(p.Err)
				err = echo.ErrInternalServerError
			}
			handle(c, err)
		}
		e.Use(middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
			LogURIPath: true, LogStatus: true,
			LogValuesFunc: func(_ *echo.Context, v middleware.RequestLoggerValues) error {
				fmt.Fprintln(hooks.AccessLog, v.URIPath, v.Status)
				return nil
			},
		}))
		e.Use(middleware.Recover())
		e.Use(middleware.Gzip())
		e.GET("/panic", echo.WrapHandler(http.HandlerFunc(rig.Panic)))
		e.GET("/rooms/:room/ws", echo.WrapHandler(ws), echo5Auth, echo5PathValue)
		return e
	}}
}

// echo5Auth is rig.Auth in echo's words.
func echo5Auth(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		user, ok := rig.Authenticate(c.Request())
		if !ok {
			return echo.ErrUnauthorized
		}
		c.SetCookie(rig.NewCookie())
		c.SetRequest(c.Request().WithContext(rig.WithUser(c.Request().Context(), user)))
		return next(c)
	}
}

// echo5PathValue passes the parameter on to what knows no echo.Context.
func echo5PathValue(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		c.Request().SetPathValue("room", c.Param("room"))
		return next(c)
	}
}
