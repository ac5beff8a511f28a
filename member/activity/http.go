package activity

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// ErrCursor rejects a cursor that no page ended with.
var ErrCursor = fault.New(fault.Invalid, "activity.cursor", "翻页位置无效", "the cursor is not one of this list").
	WithHint("请使用上一页返回的 next_cursor;从头开始则留空", "pass the next_cursor of the page before, or nothing to begin anew")

// Routes registers the operations of the log.
func Routes(a *api.API, l *Log) {
	api.Add(a, api.Op{
		ID: "member-timeline", Method: http.MethodGet, Path: "/api/v1/members/{id}/timeline", Tag: "members",
		Summary: "What a member did and what happened to them, newest first",
		About:   "Properties that a source invented are masked where they look like a phone number or a mail address.",
		Roles:   []auth.Role{auth.RoleMarketer, auth.RoleAssociate, auth.RoleManager, auth.RoleAgent},
	}, handlers{l}.timeline)
}

type handlers struct{ log *Log }

type timelineIn struct {
	ID     string   `path:"id" doc:"the member's id, or any birth of it"`
	Key    []string `query:"key" maxItems:"50" doc:"only these activity keys, separated by commas; see docs/activities.md"`
	Cursor string   `query:"cursor" maxLength:"64" doc:"next_cursor of the page before"`
	Limit  int      `query:"limit" default:"20" minimum:"1" maximum:"100"`
}

func (h handlers) timeline(ctx context.Context, in *timelineIn) (*api.PageOutput[Entry], error) {
	birth, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil || birth <= 0 {
		return nil, cluster.ErrUnknown.With("birth", in.ID)
	}
	c, err := cluster.Within(ctx, h.log.db, auth.ScopeFrom(ctx), member.Birth(birth))
	if err != nil {
		return nil, err
	}
	q := TimelineQuery{Keys: in.Key, Limit: in.Limit + 1}
	if q.Before, err = parseCursor(in.Cursor); err != nil {
		return nil, err
	}
	entries, err := h.log.Timeline(ctx, h.log.db, c.Births, q)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		entries[i].Props = masked(entries[i].Key, entries[i].Props)
	}
	return api.NewPage(entries, in.Limit, func(last Entry) string { return Cursor{last.OccurredAt, last.ID}.String() }), nil
}

// String is the cursor as pages carry it.
func (c Cursor) String() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.OccurredAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, uint64(c.ID)))
}

func parseCursor(text string) (Cursor, error) {
	if text == "" {
		return Cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 16 {
		return Cursor{}, ErrCursor
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(b))).UTC()
	if at.Year() < 1970 || at.Year() > 2200 {
		return Cursor{}, ErrCursor
	}
	return Cursor{OccurredAt: at, ID: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}
