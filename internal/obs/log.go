package obs

import (
	"context"
	"io"
	"log/slog"
)

// Logger returns the process's logger: one JSON object a line, or text for people.
func Logger(w io.Writer, level slog.Level, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// AtLeast returns log without the records below the level, for libraries that tell more than operators want to read.
func AtLeast(level slog.Level, log *slog.Logger) *slog.Logger {
	return slog.New(floor{log.Handler(), level})
}

type floor struct {
	slog.Handler
	level slog.Level
}

func (f floor) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= f.level && f.Handler.Enabled(ctx, level)
}

func (f floor) WithAttrs(attrs []slog.Attr) slog.Handler {
	return floor{f.Handler.WithAttrs(attrs), f.level}
}

func (f floor) WithGroup(name string) slog.Handler { return floor{f.Handler.WithGroup(name), f.level} }
