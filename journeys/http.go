package journeys

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/lianke/lianke/internal/api"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/validate"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Routes registers the operations of journeys.
func Routes(a *api.API, s *Service) {
	h := handlers{s}
	edit := []auth.Role{auth.RoleMarketer}
	see := []auth.Role{auth.RoleMarketer, auth.RoleManager, auth.RoleAgent}
	op := func(id, method, path, summary string, roles []auth.Role) api.Op {
		return api.Op{ID: id, Method: method, Path: "/api/v1" + path, Tag: "journeys", Summary: summary, Roles: roles}
	}
	api.Add(a, op("find-journeys", http.MethodGet, "/journeys", "List journeys", see), h.find)
	create := op("create-journey", http.MethodPost, "/journeys", "Create a journey as a draft", edit)
	create.Status = http.StatusCreated
	api.Add(a, create, h.create)
	api.Add(a, op("get-journey", http.MethodGet, "/journeys/{code}", "Get a journey with its draft", see), h.get)
	api.Add(a, op("save-journey", http.MethodPut, "/journeys/{code}", "Replace the draft", edit), h.save)
	api.Add(a, op("copy-journey", http.MethodPost, "/journeys/{code}/copy", "Copy the draft into a new journey", edit), h.copy)
	api.Add(a, op("check-journey", http.MethodPost, "/journeys/{code}/check", "List every fault of the draft", edit), h.check)
	api.Add(a, op("publish-journey", http.MethodPost, "/journeys/{code}/publish", "Make the draft the live version", edit), h.publish)
	api.Add(a, op("pause-journey", http.MethodPost, "/journeys/{code}/pause", "Pause", edit), h.turn(s.Pause))
	api.Add(a, op("resume-journey", http.MethodPost, "/journeys/{code}/resume", "Resume", edit), h.turn(s.Resume))
	api.Add(a, op("archive-journey", http.MethodPost, "/journeys/{code}/archive", "End for good, with all runs", edit), h.turn(s.Archive))
	api.Add(a, op("retry-journey", http.MethodPost, "/journeys/{code}/retry", "Give quarantined runs another set of attempts", edit), h.retry)
	api.Add(a, op("pause-all-journeys", http.MethodPost, "/journeys-stop", "Stop or release all journeys", edit), h.pauseAll)
	api.Add(a, op("journey-status", http.MethodGet, "/journeys/{code}/status", "Figures of a journey", see), h.status)
	api.Add(a, op("journey-figures", http.MethodGet, "/journeys/{code}/figures", "Figures by cohort, hour or version", see), h.figures)
	api.Add(a, op("journey-in-flight", http.MethodGet, "/journeys/{code}/in-flight", "Runs in flight by version and node", see), h.inFlight)
	api.Add(a, op("start-journey", http.MethodPost, "/journeys/{code}/runs", "Begin runs of a journey that is triggered through the API", edit), h.start)
	api.Add(a, op("member-journeys", http.MethodGet, "/members/{birth}/journeys", "Runs of a member", see), h.runsOf)
}

type handlers struct{ s *Service }

// CodePath is the path of operations on one item with a code.
type CodePath struct {
	Code string `path:"code" doc:"journey code"`
}

type infoOutput struct{ Body Info }

type findInput struct {
	Status string `query:"status" doc:"draft, live, paused or archived"`
	Cursor string `query:"cursor"`
	Limit  int    `query:"limit"`
}

type findOutput struct {
	Body struct {
		Items      []Info `json:"items"`
		NextCursor string `json:"next_cursor,omitempty"`
	}
}

func (h handlers) find(ctx context.Context, in *findInput) (*findOutput, error) {
	limit := min(cmp.Or(max(in.Limit, 0), 50), 200)
	items, err := h.s.Find(ctx, JourneyStatus(in.Status), in.Cursor, limit)
	if err != nil {
		return nil, err
	}
	out := &findOutput{}
	out.Body.Items = items
	if len(items) == limit {
		out.Body.NextCursor = items[limit-1].Code
	}
	return out, nil
}

type createInput struct {
	Body struct {
		Code     string          `json:"code" validate:"required,max=60"`
		Document json.RawMessage `json:"document"`
	}
}

func (h handlers) create(ctx context.Context, in *createInput) (*infoOutput, error) {
	if err := validate.Struct(in.Body); err != nil {
		return nil, err
	}
	info, err := h.s.Create(ctx, in.Body.Code, in.Body.Document)
	return &infoOutput{info}, err
}

type getOutput struct {
	Body struct {
		Info
		Document json.RawMessage `json:"document"`
	}
}

type getInput struct {
	CodePath
	Version int `query:"version" doc:"a published version instead of the draft"`
}

func (h handlers) get(ctx context.Context, in *getInput) (*getOutput, error) {
	info, err := h.s.Get(ctx, in.Code)
	if err != nil {
		return nil, err
	}
	out := &getOutput{}
	out.Body.Info = info
	out.Body.Document, err = h.s.Draft(ctx, in.Code, in.Version)
	return out, err
}

type saveInput struct {
	CodePath
	Body struct {
		Revision int             `json:"revision" validate:"gte=1"`
		Document json.RawMessage `json:"document"`
	}
}

func (h handlers) save(ctx context.Context, in *saveInput) (*infoOutput, error) {
	info, err := h.s.Save(ctx, in.Code, in.Body.Revision, in.Body.Document)
	return &infoOutput{info}, err
}

type copyInput struct {
	CodePath
	Body struct {
		Code string `json:"code" validate:"required,max=60"`
	}
}

func (h handlers) copy(ctx context.Context, in *copyInput) (*infoOutput, error) {
	info, err := h.s.Copy(ctx, in.Code, in.Body.Code)
	return &infoOutput{info}, err
}

type checkOutput struct {
	Body struct {
		Valid bool `json:"valid"`
	}
}

func (h handlers) check(ctx context.Context, in *CodePath) (*checkOutput, error) {
	raw, err := h.s.Draft(ctx, in.Code, 0)
	if err != nil {
		return nil, err
	}
	_, err = h.s.Check(ctx, raw)
	out := &checkOutput{}
	out.Body.Valid = err == nil
	return out, err
}

type publishInput struct {
	CodePath
	Body struct {
		Revision int  `json:"revision" validate:"gte=1"`
		Plan     Plan `json:"plan,omitempty"`
	}
}

type publishOutput struct{ Body Published }

func (h handlers) publish(ctx context.Context, in *publishInput) (*publishOutput, error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	p, err := h.s.Publish(ctx, in.Code, in.Body.Revision, actor.Name, in.Body.Plan)
	return &publishOutput{p}, err
}

func (h handlers) turn(do func(context.Context, string) (Info, error)) func(context.Context, *CodePath) (*infoOutput, error) {
	return func(ctx context.Context, in *CodePath) (*infoOutput, error) {
		info, err := do(ctx, in.Code)
		return &infoOutput{info}, err
	}
}

type countOutput struct {
	Body struct {
		Count int64 `json:"count"`
	}
}

func (h handlers) retry(ctx context.Context, in *CodePath) (*countOutput, error) {
	n, err := h.s.Retry(ctx, in.Code)
	out := &countOutput{}
	out.Body.Count = n
	return out, err
}

type pauseAllInput struct {
	Body struct {
		Stop bool `json:"stop"`
	}
}

func (h handlers) pauseAll(ctx context.Context, in *pauseAllInput) (*struct{}, error) {
	return nil, h.s.PauseAll(ctx, in.Body.Stop)
}

type statusOutput struct{ Body Report }

func (h handlers) status(ctx context.Context, in *CodePath) (*statusOutput, error) {
	r, err := h.s.Status(ctx, in.Code)
	return &statusOutput{r}, err
}

type figuresInput struct {
	CodePath
	From      time.Time `query:"from"`
	To        time.Time `query:"to"`
	ByCohort  bool      `query:"by_cohort" doc:"by Shanghai day of entry"`
	ByHour    bool      `query:"by_hour" doc:"by the hour in which it happened"`
	ByVersion bool      `query:"by_version"`
}

type figuresOutput struct {
	Body struct {
		Items []Count `json:"items"`
	}
}

func (h handlers) figures(ctx context.Context, in *figuresInput) (*figuresOutput, error) {
	items, err := h.s.Figures(ctx, in.Code, FiguresQuery{From: in.From, To: in.To, ByCohort: in.ByCohort, ByHour: in.ByHour, ByVersion: in.ByVersion})
	out := &figuresOutput{}
	out.Body.Items = items
	return out, err
}

type inFlightOutput struct {
	Body struct {
		Items []Flight `json:"items"`
	}
}

func (h handlers) inFlight(ctx context.Context, in *CodePath) (*inFlightOutput, error) {
	items, err := h.s.InFlight(ctx, in.Code, 0)
	out := &inFlightOutput{}
	out.Body.Items = items
	return out, err
}

type startInput struct {
	CodePath
	Key  string `header:"Idempotency-Key" doc:"the same key begins the same runs once"`
	Body struct {
		Members []string        `json:"members" validate:"required,min=1,max=1000"`
		Props   json.RawMessage `json:"props,omitempty"`
	}
}

func (h handlers) start(ctx context.Context, in *startInput) (*countOutput, error) {
	if in.Key == "" || len(in.Key) > 200 {
		return nil, ErrNoKey
	}
	if err := validate.Struct(in.Body); err != nil {
		return nil, err
	}
	births := make([]member.Birth, len(in.Body.Members))
	for i, text := range in.Body.Members {
		var err error
		if births[i], err = h.visible(ctx, text); err != nil {
			return nil, err
		}
	}
	n, err := h.s.engine.Start(ctx, in.Code, in.Key, births, in.Body.Props)
	out := &countOutput{}
	out.Body.Count = int64(n)
	return out, err
}

type memberInput struct {
	Birth string `path:"birth" doc:"member or birth"`
	Limit int    `query:"limit"`
}

type runsOutput struct {
	Body struct {
		Items []RunView `json:"items"`
	}
}

func (h handlers) runsOf(ctx context.Context, in *memberInput) (*runsOutput, error) {
	birth, err := h.visible(ctx, in.Birth)
	if err != nil {
		return nil, err
	}
	items, err := h.s.RunsOf(ctx, birth, cmp.Or(in.Limit, 50))
	out := &runsOutput{}
	out.Body.Items = items
	return out, err
}

// visible reads the number of a member or birth; one outside of the actor's scope does not exist.
func (h handlers) visible(ctx context.Context, text string) (member.Birth, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, ErrNoMember
	}
	scope := auth.ScopeFrom(ctx)
	if scope.All && scope.Associate == nil {
		return member.Birth(n), nil // the use cases find out whether there is such a member
	}
	_, err = cluster.Within(ctx, h.s.db, scope, member.Birth(n))
	if errors.Is(err, cluster.ErrUnknown) {
		return 0, ErrNoMember
	}
	return member.Birth(n), err
}
