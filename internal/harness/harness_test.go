package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func TestProcessesOnOneDatabaseComeAndGo(t *testing.T) {
	t.Parallel()
	db := pgtest.URL(t)

	// Given two processes with roles of their own
	worker := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"jobs"}})
	door := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"api"}})
	require.Empty(t, worker.Addr, "only roles that answer listen")
	require.NotEmpty(t, door.Addr)

	// When one is killed and one is frozen and thawed, the rest goes on.
	worker.Kill()
	require.False(t, worker.Running())
	require.True(t, door.Ready())
	door.Pause()
	door.Resume()
	door.Await("it is ready again", door.Ready)

	// A successor takes over, and both end in good order when asked.
	heir := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"jobs"}})
	heir.Stop()
	door.Stop()
}

func TestATakenPortAndAWrongRoleAreSaidPlainly(t *testing.T) {
	t.Parallel()
	db := pgtest.URL(t)
	first := harness.Start(t, harness.Options{DatabaseURL: db, Roles: []string{"api"}})

	p, code := harness.Run(t, harness.Options{DatabaseURL: db}, "serve", "--addr", first.Addr, "--admin-addr", "off")
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), "cannot listen on "+first.Addr)

	p, code = harness.Run(t, harness.Options{DatabaseURL: db}, "serve", "--roles", "api,cook")
	require.Equal(t, 1, code)
	require.Contains(t, p.Log(), `LIANKE_ROLES: "cook" is not valid`)
}

func TestCommandsAnswerInJSON(t *testing.T) {
	t.Parallel()
	p, code := harness.Run(t, harness.Options{DatabaseURL: "postgres://li:hunter2@nowhere/x"}, "config", "--json")
	require.Equal(t, 0, code)
	var shown map[string]string
	p.JSON(&shown)
	require.Equal(t, "postgres://li:xxxxx@nowhere/x", shown["LIANKE_DATABASE_URL"])
}
