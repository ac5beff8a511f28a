package templates

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lianke/lianke/internal/auth"
)

//go:embed library/*.json
var library embed.FS

// Library returns the starter templates that come with the product.
func Library() ([]Template, error) {
	raw, err := library.ReadFile("library/messages.json")
	if err != nil {
		return nil, fmt.Errorf("read template library: %w", err)
	}
	var out []Template
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("read template library: %w", err)
	}
	return out, nil
}

// InstallLibrary saves and publishes the starter templates that are not there yet and returns how many it added.
func (s *Service) InstallLibrary(ctx context.Context, actor auth.Actor) (int, error) {
	all, err := Library()
	if err != nil {
		return 0, err
	}
	added := 0
	for _, t := range all {
		_, err := s.Get(ctx, t.Code, 0)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNotFound) {
			return added, err
		}
		if _, err := s.Save(ctx, actor, SaveInput{Template: t}); err != nil {
			return added, fmt.Errorf("install %s: %w", t.Code, err)
		}
		if _, err := s.Publish(ctx, t.Code, 0); err != nil {
			return added, fmt.Errorf("install %s: %w", t.Code, err)
		}
		added++
	}
	return added, nil
}
