package channels

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/capture"
	"github.com/lianke/lianke/member/contact"
	"github.com/lianke/lianke/templates"
)

// Opener makes the sender of an account from its configuration and secrets. The pipeline calls it again when the account
// changes.
type Opener func(a Account) (Sender, error)

// Service holds the use cases.
type Service struct {
	db        pg.DB
	clock     clock.Clock
	log       *slog.Logger
	contact   *contact.Book
	door      *capture.Door
	profile   *member.Profile
	templates *templates.Service
	activity  *activity.Log
	open      Opener
	vault     *vault
	links     *linker
	limits    *limits
	store     store

	mu      sync.Mutex
	senders map[string]opened
	wake    chan struct{} // closed when callbacks arrived in this process
}

type opened struct {
	version int64
	sender  Sender
}

// Deps are what the service is wired from.
type Deps struct {
	DB        pg.DB
	Clock     clock.Clock
	Log       *slog.Logger
	Ring      *crypt.Ring
	Contact   *contact.Book
	Door      *capture.Door
	Profile   *member.Profile
	Templates *templates.Service
	Activity  *activity.Log
	Open      Opener
}

// New returns the service.
func New(d Deps) *Service {
	return &Service{
		db: d.DB, clock: d.Clock, log: d.Log, contact: d.Contact, door: d.Door, profile: d.Profile, templates: d.Templates, activity: d.Activity, open: d.Open,
		vault: newVault(d.Ring, d.DB), links: newLinker(d.Ring), limits: newLimits(), senders: map[string]opened{}, wake: make(chan struct{}),
	}
}

// planned is an intent with everything that was looked up for it.
type planned struct {
	Intent
	version int
	state   State
	reason  Reason
}

// Plan writes messages into the ledger in the caller's transaction. It is idempotent by send key: a message that is there
// already is left as it is. A message that can never be sent (no published template, no such account) is recorded as
// failed, so that one bad row does not stop a batch of others; it returns an error only for broken input.
func (s *Service) Plan(ctx context.Context, tx pgx.Tx, intents []Intent) error {
	if len(intents) == 0 {
		return nil
	}
	accounts, err := s.store.accounts(ctx, tx)
	if err != nil {
		return fmt.Errorf("plan messages: %w", err)
	}
	now := s.clock.Now()
	versions := map[string]*templates.Program{}
	rows := make([]planned, len(intents))
	for i, in := range intents {
		if in.Birth <= 0 || in.SendKey == (Intent{}).SendKey {
			return ErrIntent.WithFields(field(fmt.Sprintf("[%d]", i), "required", "缺少会员或发送键", "birth and send key are required", "请补全", "fill them in"))
		}
		if q := in.Quiet; min(q.From, q.To) < 0 || max(q.From, q.To) > 24*60 {
			return ErrIntent.WithFields(field(fmt.Sprintf("[%d].quiet", i), "range", "静默时段须在 0 到 1440 分钟之间", "quiet hours are minutes from 0 to 1440", "请更正", "correct them"))
		}
		p := planned{Intent: in, state: StatePlanned}
		account, ok := pick(accounts, in.Account, in.Channel)
		if ok {
			p.Account, p.Channel = account.Code, account.Channel
		} else {
			p.state, p.reason = StateFailed, ReasonNoAccount
		}
		program, ok := versions[in.Template]
		if !ok {
			if program, err = s.templates.Program(ctx, tx, in.Template, 0); err != nil && !isNoTemplate(err) {
				return fmt.Errorf("plan messages: %w", err)
			}
			versions[in.Template] = program
		}
		p.complete(program, now)
		rows[i] = p
	}
	return s.store.insertPlanned(ctx, tx, rows, now)
}

// complete fills in what the intent left open. A message never travels in a faster lane than its template's.
func (p *planned) complete(program *templates.Program, now time.Time) {
	if program == nil {
		p.state, p.reason = StateFailed, ReasonNoTemplate
	} else {
		p.version = program.Template.Version
		if slower(program.Template.Lane, p.Lane) {
			p.Lane = program.Template.Lane
		}
		if p.state == StatePlanned && program.Template.Channel != string(p.Channel) {
			p.state, p.reason = StateFailed, ReasonTemplate
		}
	}
	if p.Lane == "" {
		p.Lane = LaneMarketing
	}
	if p.Locale == "" {
		p.Locale = string(templates.ZH)
	}
	if p.At.Before(now) {
		p.At = now
	}
	if p.ExpiresAt.IsZero() {
		p.ExpiresAt = p.At.Add(lifetime(p.Lane))
	}
	if p.Channel == "" {
		p.Channel = ChannelEmail
	}
}

func slower(a, b Lane) bool {
	order := map[Lane]int{"": 0, LaneTransaction: 1, LaneService: 2, LaneMarketing: 3}
	return order[a] > order[b]
}

// pick returns the named account, or the first one of the channel that is not disabled.
func pick(accounts []Account, code string, c Channel) (Account, bool) {
	for _, a := range accounts {
		if a.Status == AccountDisabled {
			continue
		}
		if code != "" && a.Code == code && (c == "" || a.Channel == c) || code == "" && a.Channel == c {
			return a, true
		}
	}
	return Account{}, false
}

// Withdraw takes back messages that have not left yet, such as those of a journey run that ended early.
func (s *Service) Withdraw(ctx context.Context, tx pgx.Tx, refs []Ref) (int, error) {
	return s.store.withdraw(ctx, tx, refs, s.clock.Now())
}

// sender returns the sender of an account, made anew when the account has changed.
func (s *Service) sender(ctx context.Context, a Account) (Sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.senders[a.Code]; ok && o.version == a.Version {
		return o.sender, nil
	}
	secrets, err := s.vault.open(ctx, "account:"+a.Code, a.Secrets)
	if err != nil {
		return nil, fmt.Errorf("open secrets of account %s: %w", a.Code, err)
	}
	a.Secrets = secrets
	made, err := s.open(a)
	if err != nil {
		return nil, fmt.Errorf("open account %s: %w", a.Code, err)
	}
	if old, ok := s.senders[a.Code].sender.(interface{ Close() }); ok {
		old.Close()
	}
	s.senders[a.Code] = opened{a.Version, made}
	return made, nil
}

// births returns the distinct births of messages, in order of appearance.
func births(ms []Message) []member.Birth {
	seen := make(map[member.Birth]bool, len(ms))
	out := make([]member.Birth, 0, len(ms))
	for _, m := range ms {
		if !seen[m.Birth] {
			seen[m.Birth] = true
			out = append(out, m.Birth)
		}
	}
	return out
}
