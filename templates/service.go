package templates

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// People reads the fields of members that templates may show.
type People interface {
	// Bindings returns, for each birth, the named member fields: "name", "city", and attributes under "attrs".
	Bindings(ctx context.Context, db pg.DB, births []member.Birth, fields []string) (map[member.Birth]map[string]any, error)
}

// Service holds the use cases.
type Service struct {
	db     pg.DB
	clock  clock.Clock
	people People
	store  store

	mu    sync.Mutex
	cache map[cacheKey]*Program
}

type cacheKey struct {
	code    string
	version int
}

// New returns the service. people may be nil where nothing is previewed for a member.
func New(db pg.DB, clk clock.Clock, people People) *Service {
	return &Service{db: db, clock: clk, people: people, cache: map[cacheKey]*Program{}}
}

// SaveInput is a new version of a template. BaseVersion is the version it was edited from, 0 for a new template.
type SaveInput struct {
	Template    Template
	BaseVersion int
}

// Save writes a new version, not yet in use. It fails with ErrInvalid, ErrNotFound and ErrStale.
func (s *Service) Save(ctx context.Context, actor auth.Actor, in SaveInput) (Template, error) {
	t := in.Template
	if err := t.Validate(); err != nil {
		return Template{}, err
	}
	err := pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		now := s.clock.Now()
		if in.BaseVersion == 0 {
			created, err := s.store.insert(ctx, tx, t, now)
			if err != nil {
				return err
			}
			if created {
				t.Version = 1
				return s.store.insertVersion(ctx, tx, t, actor.Name, now)
			}
		}
		latest, err := s.store.lock(ctx, tx, t.Code)
		if err != nil {
			return err
		}
		if latest != in.BaseVersion {
			return ErrStale.With("code", t.Code, "version", latest)
		}
		t.Version = latest + 1
		if err := s.store.update(ctx, tx, t, now); err != nil {
			return err
		}
		return s.store.insertVersion(ctx, tx, t, actor.Name, now)
	})
	if err != nil {
		return Template{}, fmt.Errorf("save template: %w", err)
	}
	return s.Get(ctx, t.Code, t.Version)
}

// Publish puts a version into use. Lint errors stop it: ErrInvalid names them.
func (s *Service) Publish(ctx context.Context, code string, version int) (Template, error) {
	t, err := s.Get(ctx, code, version)
	if err != nil {
		return Template{}, err
	}
	var bad []fault.Field
	for _, f := range Lint(t) {
		if f.Error {
			bad = append(bad, field(f.Path, f.Code, f.ZH, f.EN, "请修改后再发布", "mend it before publishing"))
		}
	}
	if len(bad) > 0 {
		return Template{}, fmt.Errorf("publish template: %w", ErrInvalid.WithFields(bad...))
	}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		return s.store.setStatus(ctx, tx, code, StatusPublished, t.Version, s.clock.Now())
	})
	if err != nil {
		return Template{}, fmt.Errorf("publish template: %w", err)
	}
	return s.Get(ctx, code, t.Version)
}

// Archive takes a template out of use: new messages with it are refused, planned ones still go.
func (s *Service) Archive(ctx context.Context, code string) error {
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		return s.store.setStatus(ctx, tx, code, StatusArchived, 0, s.clock.Now())
	})
}

// Get returns one version; 0 is the latest.
func (s *Service) Get(ctx context.Context, code string, version int) (Template, error) {
	return s.store.get(ctx, s.db, code, version)
}

// Query filters templates; pages follow the code.
type Query struct {
	After   string
	Channel string
	Status  Status
	Text    string
	Limit   int
}

// Find lists templates at their latest version.
func (s *Service) Find(ctx context.Context, q Query) ([]Template, error) {
	if q.Limit <= 0 || q.Limit > 200 {
		q.Limit = 50
	}
	return s.store.find(ctx, s.db, q)
}

// Program returns a compiled version; 0 is the published one. Versions never change, so they are compiled once.
func (s *Service) Program(ctx context.Context, db pg.DB, code string, version int) (*Program, error) {
	if version > 0 {
		if p := s.cached(cacheKey{code, version}); p != nil {
			return p, nil
		}
	} else {
		version = -1
	}
	t, err := s.store.get(ctx, db, code, version)
	if err != nil {
		if version == -1 && fault.KindOf(err) == fault.NotFound {
			return nil, ErrNotPublished.With("code", code)
		}
		return nil, err
	}
	if version == -1 && t.Status == StatusArchived {
		return nil, ErrNotPublished.With("code", code)
	}
	key := cacheKey{code, t.Version}
	if p := s.cached(key); p != nil {
		return p, nil
	}
	p, err := Compile(t)
	if err != nil {
		return nil, fmt.Errorf("template %s version %d: %w", code, t.Version, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cache) >= 2000 {
		clear(s.cache)
	}
	s.cache[key] = p
	return p, nil
}

func (s *Service) cached(k cacheKey) *Program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cache[k]
}

// PreviewInput asks what a member would read. Without Birth the member is a sample, without Vars the examples are used.
type PreviewInput struct {
	Code    string
	Version int
	Locale  Locale
	Birth   member.Birth
	Vars    map[string]any
}

// Preview renders a version for a real member; a result shown to an operator who may not see personal data is masked by
// reveal = false.
func (s *Service) Preview(ctx context.Context, in PreviewInput, reveal bool) (Rendered, []Finding, error) {
	t, err := s.Get(ctx, in.Code, in.Version)
	if err != nil {
		return Rendered{}, nil, err
	}
	p, err := Compile(t)
	if err != nil {
		return Rendered{}, nil, err
	}
	d := Data{Locale: in.Locale, Vars: t.Body.Examples(), Member: sample(), UnsubscribeURL: "https://example.com/u/preview"}
	for k, v := range in.Vars {
		d.Vars[k] = v
	}
	if in.Birth != 0 && s.people != nil {
		all, err := s.people.Bindings(ctx, s.db, []member.Birth{in.Birth}, p.MemberFields())
		if err != nil {
			return Rendered{}, nil, fmt.Errorf("preview template: %w", err)
		}
		d.Member = all[in.Birth]
		if name, ok := d.Member["name"].(string); ok && !reveal {
			d.Member["name"] = maskName(name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := p.Render(ctx, d)
	return r, Lint(t), err
}

func sample() map[string]any {
	return map[string]any{"name": "王小明", "gender": "male", "province": "上海", "city": "上海", "home_store": "S001", "attrs": map[string]any{}}
}

// maskName keeps the family name: 王小明 → 王**.
func maskName(name string) string {
	r := []rune(name)
	if len(r) == 0 {
		return ""
	}
	for i := 1; i < len(r); i++ {
		r[i] = '*'
	}
	return string(r)
}
