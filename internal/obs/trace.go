package obs

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// personal are attributes that say who a request was about or came from, or hold a secret of its address: links and
// callbacks carry tokens in the path, searches a phone number behind it. The route and the statement stay.
var personal = []attribute.Key{
	"url.path", "url.query", "url.full", "client.address", "network.peer.address", "network.peer.port", "user_agent.original",
	"exception.message", // PostgreSQL's may quote a value; the log has it
}

// discreet hands spans on without them.
type discreet struct{ trace.SpanExporter }

// ExportSpans implements trace.SpanExporter.
func (d discreet) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	shown := make([]trace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		shown[i] = discreetSpan{s}
	}
	return d.SpanExporter.ExportSpans(ctx, shown)
}

type discreetSpan struct{ trace.ReadOnlySpan }

// Attributes leaves the personal ones out.
func (s discreetSpan) Attributes() []attribute.KeyValue {
	return impersonal(s.ReadOnlySpan.Attributes())
}

// Events leaves personal attributes of events out.
func (s discreetSpan) Events() []trace.Event {
	events := slices.Clone(s.ReadOnlySpan.Events())
	for i := range events {
		events[i].Attributes = impersonal(events[i].Attributes)
	}
	return events
}

// Status has no description: it would be the message of the error.
func (s discreetSpan) Status() trace.Status { return trace.Status{Code: s.ReadOnlySpan.Status().Code} }

func impersonal(all []attribute.KeyValue) []attribute.KeyValue {
	return slices.DeleteFunc(slices.Clone(all), func(kv attribute.KeyValue) bool { return slices.Contains(personal, kv.Key) })
}

// Trace sends a share of the traces to an OTLP-over-HTTP collector and returns how to flush and stop. Without an endpoint
// nothing is recorded. The collector may be away; spans are then dropped.
func Trace(ctx context.Context, endpoint string, share float64, version string) (stop func(context.Context) error, err error) {
	if endpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("set up tracing: %w", err)
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(discreet{exporter}),
		trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(share))),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "lianke"), attribute.String("service.version", version),
		)),
	)
	// The libraries that make spans (pgx, net/http) look for their provider here.
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return provider.Shutdown, nil
}
