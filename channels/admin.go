package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

// SaveAccount creates an account (Version 0) or changes it; empty Secrets keep those there are. The protocol package is
// asked at once whether it can work with the configuration, so a wrong key is found here and not in the night.
func (s *Service) SaveAccount(ctx context.Context, a Account) (Account, error) {
	if a.Status == "" {
		a.Status = AccountActive
	}
	if a.Settings.AppID == "" && len(a.Config) > 0 {
		// Identities belong to the app that the protocol package is configured with.
		var app struct {
			AppID string `json:"appid"`
		}
		if json.Unmarshal(a.Config, &app) == nil {
			a.Settings.AppID = app.AppID
		}
	}
	if err := a.Validate(); err != nil {
		return Account{}, err
	}
	sealed, err := s.vault.seal(ctx, "account:"+a.Code, a.Secrets)
	if err != nil {
		return Account{}, err
	}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.store.saveAccount(ctx, tx, a, sealed, s.clock.Now()); err != nil {
			return err
		}
		saved, err := s.store.account(ctx, tx, a.Code)
		if err != nil {
			return err
		}
		if saved.Secrets, err = s.vault.open(ctx, "account:"+a.Code, saved.Secrets); err != nil {
			return err
		}
		if _, err := s.open(saved); err != nil {
			return ErrAccountInvalid.WithFields(field("config", "config", "渠道无法使用此配置:"+err.Error(), err.Error(), "请检查配置与密钥", "check configuration and secrets")).Because(err)
		}
		return nil
	})
	if err != nil {
		return Account{}, fmt.Errorf("save account %s: %w", a.Code, err)
	}
	return s.GetAccount(ctx, a.Code)
}

// GetAccount returns an account without its secrets.
func (s *Service) GetAccount(ctx context.Context, code string) (Account, error) {
	a, err := s.store.account(ctx, s.db, code)
	a.Secrets = nil
	return a, err
}

// OpenAccount returns an account with its secrets, for the protocol packages: callback endpoints need the tokens.
func (s *Service) OpenAccount(ctx context.Context, code string) (Account, error) {
	a, err := s.store.account(ctx, s.db, code)
	if err != nil {
		return Account{}, err
	}
	a.Secrets, err = s.vault.open(ctx, "account:"+code, a.Secrets)
	return a, err
}

// Accounts lists all accounts without their secrets; there are dozens at most.
func (s *Service) Accounts(ctx context.Context) ([]Account, error) {
	list, err := s.store.accounts(ctx, s.db)
	for i := range list {
		list[i].Secrets = nil
	}
	return list, err
}

// GetSettings returns the rules for all sending.
func (s *Service) GetSettings(ctx context.Context) (Settings, error) {
	return s.store.settings(ctx, s.db)
}

// SetPaused stops or resumes all sending. What is with a provider at this moment is not called back.
func (s *Service) SetPaused(ctx context.Context, paused bool) error {
	_, err := s.db.Exec(ctx, setPausedSQL, pg.Args{"paused": paused, "now": s.clock.Now()})
	return err
}

// SetCaps replaces the frequency caps.
func (s *Service) SetCaps(ctx context.Context, caps []Cap) error {
	if err := ValidateCaps(caps); err != nil {
		return err
	}
	if caps == nil {
		caps = []Cap{}
	}
	raw, err := json.Marshal(caps)
	if err != nil {
		return fmt.Errorf("encode caps: %w", err)
	}
	_, err = s.db.Exec(ctx, setCapsSQL, pg.Args{"caps": raw, "now": s.clock.Now()})
	return err
}

// Find lists messages, newest first.
func (s *Service) Find(ctx context.Context, q Query) ([]Message, error) {
	if q.Limit <= 0 || q.Limit > 200 {
		q.Limit = 50
	}
	if q.Before.At.IsZero() {
		q.Before.At = s.clock.Now().Add(time.Hour)
	}
	return s.store.find(ctx, s.db, q)
}

// Get returns one message.
func (s *Service) Get(ctx context.Context, r Ref) (Message, error) { return s.store.get(ctx, s.db, r) }

// CountStates returns how many messages planned since then are in each state; account "" is all.
func (s *Service) CountStates(ctx context.Context, account string, since time.Time) (map[State]int64, error) {
	return s.store.countStates(ctx, s.db, account, since)
}

// Resend plans failed messages again under their own keys, and only failed ones: the ledger knows who got it. It returns
// how many were taken; consent, caps and quiet hours are decided anew.
func (s *Service) Resend(ctx context.Context, refs []Ref) (n int, err error) {
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		n, err = s.store.resend(ctx, tx, refs, s.clock.Now())
		return err
	})
	if err == nil && n == 0 {
		return 0, ErrNotResendable
	}
	return n, err
}

// Resolve settles a message with an unknown outcome by an operator's word: accepted (the provider's records show it) or
// failed (they do not; it may be resent after that).
func (s *Service) Resolve(ctx context.Context, r Ref, to State) error {
	if to != StateAccepted && to != StateFailed {
		return ErrNotResendable
	}
	return pg.InTx(ctx, s.db, func(tx pgx.Tx) error {
		done, err := s.store.resolve(ctx, tx, r, to, s.clock.Now())
		if err == nil && !done {
			return ErrNotResendable
		}
		return err
	})
}

// Shown is a message as the member got it.
type Shown struct {
	Message
	Content templates.Rendered
}

// Show renders a sent message again from its immutable template version and the sealed fields. After the fields' time it
// is shown without them. reveal=false leaves personal data out.
func (s *Service) Show(ctx context.Context, r Ref, reveal bool) (Shown, error) {
	m, err := s.store.get(ctx, s.db, r)
	if err != nil {
		return Shown{}, err
	}
	out := Shown{Message: m}
	program, err := s.templates.Program(ctx, s.db, m.Template, m.TemplateVersion)
	if err != nil {
		return out, err
	}
	bound := map[string]any{}
	if reveal {
		sealed, err := s.store.sealed(ctx, s.db, r)
		if err != nil {
			return out, err
		}
		if len(sealed) > 0 {
			text, err := s.contact.OpenSealed(ctx, s.db, m.Address, sealKind, sealed)
			if err != nil {
				return out, fmt.Errorf("open message %s: %w", r, err)
			}
			if err := json.Unmarshal([]byte(text), &bound); err != nil {
				return out, fmt.Errorf("open message %s: %w", r, err)
			}
		}
	}
	out.Content, err = program.Render(ctx, templates.Data{Locale: localeOf(m), Vars: m.Vars, Member: bound, UnsubscribeURL: "https://example.com/u/"})
	return out, err
}

// TestSend sends the published version of a template to one member, marked as a test in the ledger and under the same rules
// as any other message: consent, quiet hours and caps hold for colleagues too. Vars that are not given take their examples.
func (s *Service) TestSend(ctx context.Context, birth member.Birth, account, template string, vars map[string]any, locale string) (Ref, error) {
	program, err := s.templates.Program(ctx, s.db, template, 0)
	if err != nil {
		return Ref{}, err
	}
	all := program.Template.Body.Examples()
	for k, v := range vars {
		all[k] = v
	}
	in := Intent{
		SendKey: id.New(), Birth: birth, Channel: Channel(program.Template.Channel), Account: account, Template: template, Vars: all,
		Lane: program.Template.Lane, Locale: locale, Campaign: "test",
	}
	err = pg.InTx(ctx, s.db, func(tx pgx.Tx) error { return s.Plan(ctx, tx, []Intent{in}) })
	return RefOf(birth, in.SendKey), err
}
