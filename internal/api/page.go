package api

import (
	"strconv"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/id"
)

// ItemPath is the path of operations on one item with a UUID.
type ItemPath struct {
	ID string `path:"id" format:"uuid"`
}

// ErrBadID rejects a path whose id is no UUID.
var ErrBadID = fault.New(fault.NotFound, "api.bad_id", "编号无效", "the id is not a UUID").
	WithHint("请使用接口返回的编号,形如 0197d2c8-…", "use the id as the API returned it, like 0197d2c8-…")

// UUID reads the id of the path.
func (p ItemPath) UUID() (id.UUID, error) {
	u, err := id.Parse(p.ID)
	if err != nil {
		return id.UUID{}, ErrBadID.Because(err)
	}
	return u, nil
}

// Page is the body of a list.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor" doc:"pass it as cursor to read on; empty at the end"`
}

// PageOutput is the answer of a list operation.
type PageOutput[T any] struct {
	Body Page[T]
}

// NewPage makes a page of items read with limit+1; next names the position after the last item kept.
func NewPage[T any](items []T, limit int, next func(last T) string) *PageOutput[T] {
	p := Page[T]{Items: items}
	if p.Items == nil {
		p.Items = []T{}
	}
	if len(items) > limit {
		p.Items = items[:limit]
		p.NextCursor = next(p.Items[limit-1])
	}
	return &PageOutput[T]{Body: p}
}

// Body wraps a value as the body of an answer.
type Body[T any] struct {
	Body T
}

// Int64 renders a bigint cursor.
func Int64(n int64) string { return strconv.FormatInt(n, 10) }
