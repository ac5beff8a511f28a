package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/templates"
)

// outcome is the result of one message of a batch.
type outcome struct {
	outbound
	Result
	sealed []byte // the member's fields that the text was rendered with
}

// send renders the messages of a batch and hands them to the provider over the account's connections. It returns one
// outcome per message, in order; it does not touch the ledger.
func (s *Service) send(ctx context.Context, b batch) []outcome {
	out := make([]outcome, len(b.messages))
	for i, m := range b.messages {
		out[i] = outcome{outbound: m}
	}
	sender, err := s.sender(ctx, b.account)
	if err != nil {
		s.log.ErrorContext(ctx, "channel account cannot be opened", "account", b.account.Code, "error", err)
		return fill(out, Result{Outcome: OutcomeRetry, Reason: ReasonAccount, Text: "the account cannot be opened"})
	}
	outgoing, err := s.render(ctx, b, out)
	if err != nil {
		s.log.ErrorContext(ctx, "messages cannot be prepared", "account", b.account.Code, "error", err)
		return fill(out, Result{Outcome: OutcomeRetry, Reason: ReasonCanceled})
	}
	var ready []int // positions of what could be rendered
	for i := range out {
		if out[i].Outcome == "" {
			ready = append(ready, i)
		}
	}
	conns := b.account.Settings.Connections
	size := max(1, (len(ready)+conns-1)/conns)
	if rate := share(b.account.Settings); rate > 0 {
		size = min(size, max(1, int(rate)/conns))
	}
	chunks := slices.Collect(slices.Chunk(ready, size))
	next := make(chan []int, len(chunks))
	for _, c := range chunks {
		next <- c
	}
	close(next)
	var wg sync.WaitGroup
	for range min(conns, len(chunks)) {
		wg.Go(func() {
			for c := range next {
				s.sendChunk(ctx, b, sender, c, outgoing, out)
			}
		})
	}
	wg.Wait()
	return out
}

// sendChunk sends some messages of a batch and writes their results into out. A sender that panics leaves their outcome
// unknown.
func (s *Service) sendChunk(ctx context.Context, b batch, sender Sender, which []int, outgoing []Outgoing, out []outcome) {
	defer func() {
		if r := recover(); r != nil {
			s.log.ErrorContext(ctx, "sender panicked", "account", b.account.Code, "panic", fmt.Sprint(r))
			for _, i := range which {
				if out[i].Outcome == "" {
					out[i].Result = Result{Outcome: OutcomeUnknown, Reason: ReasonUnreadable}
				}
			}
		}
	}()
	part := make([]Outgoing, len(which))
	for j, i := range which {
		part[j] = outgoing[i]
	}
	if err := s.limits.wait(ctx, b.account, b.shard, len(part)); err != nil {
		for _, i := range which {
			out[i].Result = Result{Outcome: OutcomeRetry, Reason: ReasonCanceled}
		}
		return
	}
	results := sender.Send(ctx, part)
	for j, i := range which {
		if j < len(results) && results[j].Outcome != "" {
			out[i].Result = results[j]
		} else {
			out[i].Result = Result{Outcome: OutcomeUnknown, Reason: ReasonUnreadable}
		}
	}
}

func fill(out []outcome, r Result) []outcome {
	for i := range out {
		if out[i].Outcome == "" {
			out[i].Result = r
		}
	}
	return out
}

type programKey struct {
	template string
	version  int
}

// render fills in templates and addresses for a batch. A message whose data does not fit gets its result here.
func (s *Service) render(ctx context.Context, b batch, out []outcome) ([]Outgoing, error) {
	programs := map[programKey]*templates.Program{}
	fields := map[string]bool{}
	var owners []member.Birth
	var addressed []member.Birth
	for _, o := range out {
		key := programKey{o.Template, o.TemplateVersion}
		if _, ok := programs[key]; !ok {
			p, err := s.templates.Program(ctx, s.db, o.Template, o.TemplateVersion)
			if err != nil && fault.KindOf(err) == fault.Internal {
				return nil, err
			}
			programs[key] = p
			if p != nil {
				for _, f := range p.MemberFields() {
					fields[f] = true
				}
			}
		}
		owners = append(owners, o.Birth)
		addressed = append(addressed, o.address)
	}
	addresses, err := s.contact.Addresses(ctx, s.db, string(b.account.Channel), addressed)
	if err != nil {
		return nil, fmt.Errorf("open addresses: %w", err)
	}
	bindings := map[member.Birth]map[string]any{}
	if len(fields) > 0 {
		if bindings, err = s.contact.Bindings(ctx, s.db, owners, slices.Sorted(maps.Keys(fields))); err != nil {
			return nil, fmt.Errorf("read member fields: %w", err)
		}
	}
	outgoing := make([]Outgoing, len(out))
	found := s.links.collect()
	for i := range out {
		o := &out[i]
		to, ok := addresses[o.address]
		program := programs[programKey{o.Template, o.TemplateVersion}]
		switch {
		case program == nil:
			o.Result = Result{Outcome: OutcomeRejected, Reason: ReasonNoTemplate}
			continue
		case !ok:
			o.Result = Result{Outcome: OutcomeRejected, Reason: ReasonNoIdentity}
			continue
		}
		bound := bindings[o.Birth]
		content, err := s.renderOne(ctx, b.account, o.outbound, program, bound, found)
		if err != nil {
			o.Result = Result{Outcome: OutcomeRejected, Reason: ReasonRenderFailed, Text: short(errors.Unwrap(err))}
			continue
		}
		if text := sealable(bound); text != "" {
			o.sealed = to.Key.Seal(sealKind, text)
		}
		outgoing[i] = Outgoing{MessageID: o.SendKey, SendKey: o.Ref().String(), To: to.Value.Reveal(), Content: content, Vars: o.Vars}
	}
	// The targets of links are stored before any message that holds them leaves.
	if err := s.links.store(ctx, s.db, found); err != nil {
		return nil, err
	}
	for i := range outgoing {
		s.links.finish(&outgoing[i].Content, b.account, out[i].outbound, found)
	}
	return outgoing, nil
}

func (s *Service) renderOne(ctx context.Context, a Account, o outbound, p *templates.Program, bound map[string]any, found *targets) (Content, error) {
	unsubscribe := ""
	if a.Settings.BaseURL != "" && o.Lane != LaneTransaction {
		unsubscribe = s.links.unsubscribeURL(a.Settings.BaseURL, o.Ref())
	}
	r, err := p.Render(ctx, templates.Data{Locale: localeOf(o.Message), Vars: o.Vars, Member: bound, UnsubscribeURL: unsubscribe})
	if err != nil {
		return Content{}, err
	}
	c := Content{
		Template: r.ProviderTemplate, Fields: r.Fields, URL: r.URL, Page: r.Page, Sign: r.Sign, Text: r.Text,
		Subject: r.Subject, HTML: r.HTML, Unsubscribe: unsubscribe, Marketing: o.Lane == LaneMarketing,
	}
	if a.Settings.TrackClicks && a.Settings.BaseURL != "" {
		found.scan(c, unsubscribe)
	}
	return c, nil
}

func localeOf(m Message) templates.Locale { return templates.Locale(m.Locale) }

// short cuts an error text for the ledger; render errors name variables and limits, never values.
func short(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if len(s) > 200 {
		s = s[:200]
	}
	return s
}

// settled is what the ledger learns from an outcome.
type settled struct {
	outcome
	state   State
	reason  Reason
	due     *time.Time
	release bool // the attempt did not count
}

// settle turns provider results into new states.
func (s *Service) settle(a Account, outcomes []outcome, now time.Time) []settled {
	out := make([]settled, len(outcomes))
	for i, o := range outcomes {
		st := settled{outcome: o, reason: o.Reason}
		switch o.Outcome {
		case OutcomeAccepted:
			st.state, st.reason = StateAccepted, ""
		case OutcomeRejected:
			st.state = StateFailed
		case OutcomeRetry:
			st.release = o.Reason.AccountWide() || o.Reason == ReasonCanceled
			if !st.release && o.Attempts+1 >= a.Settings.MaxAttempts {
				st.state, st.reason = StateFailed, ReasonAttempts
				break
			}
			due := now.Add(max(o.RetryAfter, backoff(o.Attempts+1, o.ID)))
			if o.Reason == ReasonCanceled {
				due = now
			}
			st.state, st.due = StatePlanned, &due
		default:
			st.state = StateUnknown
		}
		out[i] = st
	}
	return out
}

// backoff is 30 s, 2 min, 8 min, 32 min, then an hour, spread by ±20 % over the messages.
func backoff(attempt int, seed int64) time.Duration {
	d := float64(30*time.Second) * math.Pow(4, float64(attempt-1))
	d = min(d, float64(time.Hour))
	return time.Duration(d * (0.8 + 0.4*float64(seed%1000)/1000))
}

// hold is how long an account rests after trouble that concerns all of its messages.
func hold(outcomes []outcome) (Reason, time.Duration) {
	var reason Reason
	var wait time.Duration
	for _, o := range outcomes {
		if o.Outcome == OutcomeAccepted || !o.Reason.AccountWide() {
			continue
		}
		w := o.RetryAfter
		if w == 0 {
			w = map[Reason]time.Duration{ReasonThrottled: 10 * time.Second, ReasonQuota: time.Hour, ReasonCredential: 5 * time.Minute, ReasonAccount: 5 * time.Minute}[o.Reason]
		}
		if w > wait {
			reason, wait = o.Reason, w
		}
	}
	return reason, wait
}

// isNoTemplate tells an unusable template from a failed look-up.
func isNoTemplate(err error) bool {
	return errors.Is(err, templates.ErrNotPublished) || errors.Is(err, templates.ErrNotFound)
}

// sealKind is the kind under which the member's fields of a message are sealed.
const sealKind = "message"

func sealable(bound map[string]any) string {
	if len(bound) == 0 {
		return ""
	}
	raw, err := json.Marshal(bound)
	if err != nil {
		return ""
	}
	return string(raw)
}
