package promotion

import (
	"context"
	"maps"
	"time"

	"github.com/lianke/lianke/internal/pg"
)

// followEvery is how late a process may notice that something was published.
const followEvery = time.Second

// Follow keeps the rules of Memory up to what is published, until ctx ends.
func (s *Service) Follow(ctx context.Context) error {
	for {
		if err := s.Refresh(ctx, s.db); err != nil {
			return err
		}
		t := time.NewTimer(followEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// Refresh brings the rules of Memory up to what is published.
func (s *Service) Refresh(ctx context.Context, db pg.DB) error {
	st, err := getStacking(ctx, db)
	if err != nil {
		return err
	}
	if set := s.live.Load(); set != nil && set.revision == st.Revision {
		return nil
	}
	set, err := loadLive(ctx, db)
	if err != nil {
		return err
	}
	s.live.Store(set)
	return nil
}

// Memory returns what this process knows to be live, without asking the database. Promotions with limits count as
// exhausted: whoever does not Claim may not give them.
func (s *Service) Memory() Live {
	set := s.live.Load()
	if set == nil {
		return Live{Rules: &Compiled{}, Exhausted: map[string]bool{}}
	}
	return Live{set.rules, maps.Clone(set.counted)}
}
