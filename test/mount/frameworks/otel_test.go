package frameworks_test

// OpenTelemetry's middleware around a ServeMux.

import (
	"context"
	"net/http"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"example.com/hail"
	"example.com/hail/test/mount/frameworks/internal/rig"
)

func otel(options ...sdk.TracerProviderOption) rig.Framework {
	return rig.Framework{Name: "otelhttp", Mount: func(ws http.Handler, hooks rig.Hooks) http.Handler {
		provider := sdk.NewTracerProvider(options...)
		return otelhttp.NewHandler(serveMux().Mount(ws, hooks), "service", otelhttp.WithTracerProvider(provider))
	}}
}

// ended is a SpanProcessor that passes spans on when they end.
type ended chan sdk.ReadOnlySpan

func (ended) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (e ended) OnEnd(span sdk.ReadOnlySpan)              { e <- span }
func (ended) Shutdown(context.Context) error             { return nil }
func (ended) ForceFlush(context.Context) error           { return nil }

// The span ends with the request; its context stays with the connection, for spans that follow from it.
func TestOtelSpan(t *testing.T) {
	t.Parallel()
	spans := make(ended, 1)
	s := rig.Start(t, otel(sdk.WithSpanProcessor(spans)), &hail.Server{Handler: hail.Handler{
		OnMessage: func(c *hail.Conn, _ hail.Message) error {
			return c.Send(hail.Text(trace.SpanContextFromContext(c.Context()).TraceID().String()))
		},
	}})
	c := s.Dial(t, "?token=t-anna")
	span := rig.Wait(t, spans, "the request's span to end")
	if got := span.Status().Code; got == codes.Error {
		t.Errorf("span's status: got %v, want no error", got)
	}
	c.Send(t, "which trace?")
	c.Want(t, span.SpanContext().TraceID().String())
}
