package crypt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ring(t testing.TB, seeds ...byte) *Ring {
	t.Helper()
	var keys [][]byte
	for _, s := range seeds {
		keys = append(keys, bytes.Repeat([]byte{s}, keySize))
	}
	r, err := New(keys...)
	require.NoError(t, err)
	return r
}

func TestSealedValuesOpenOnlyWhereTheyBelong(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		birth := rapid.Int64Range(1, 1<<40).Draw(t, "birth")
		value := rapid.String().Draw(t, "value")
		key, wrapped := r.NewKey(birth)
		sealed := key.Seal(KindName, value)
		again, err := r.Unwrap(birth, wrapped)
		require.NoError(t, err)
		got, err := again.Open(KindName, sealed)
		require.NoError(t, err)
		require.Equal(t, value, got)

		_, err = again.Open(KindPhone, sealed)
		require.ErrorIs(t, err, ErrTampered)
		_, err = r.Unwrap(birth+1, wrapped)
		require.ErrorIs(t, err, ErrTampered)
		sealed[len(sealed)-1] ^= 1
		_, err = again.Open(KindName, sealed)
		require.ErrorIs(t, err, ErrTampered)
	})
}

func TestMasterKeyRotates(t *testing.T) {
	t.Parallel()
	before, after := ring(t, 1), ring(t, 2, 1)
	key, wrapped := before.NewKey(7)
	sealed := key.Seal(KindPhone, "+8613800000000")

	rewrapped, changed, err := after.Rewrap(7, wrapped)
	require.NoError(t, err)
	require.True(t, changed)
	_, changed, err = after.Rewrap(7, rewrapped)
	require.NoError(t, err)
	require.False(t, changed)

	onlyNew := ring(t, 2)
	_, err = onlyNew.Unwrap(7, wrapped)
	require.ErrorIs(t, err, ErrUnknownMaster)
	k, err := onlyNew.Unwrap(7, rewrapped)
	require.NoError(t, err)
	got, err := k.Open(KindPhone, sealed)
	require.NoError(t, err)
	require.Equal(t, "+8613800000000", got)
	require.Equal(t, before.Token("phone", "x"), after.Token("phone", "x"), "tokens survive rotation")
	require.NotEqual(t, before.Token("phone", "x"), onlyNew.Token("phone", "x"))
	require.NotEqual(t, before.Token("a", "bc"), before.Token("ab", "c"))
}

func TestMasterKeysOfAnotherLengthAreRefused(t *testing.T) {
	t.Parallel()
	_, err := New()
	require.ErrorIs(t, err, ErrMasterKey)
	_, err = New([]byte("short"))
	require.ErrorIs(t, err, ErrMasterKey)
}

func TestPersonalDataMasksItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p    Personal
		want string
	}{
		{Phone("+8613812345678"), "138****5678"},
		{Phone("+85291234567"), "+852****4567"},
		{Phone("12"), "****"},
		{Name("沈若溪"), "沈**"},
		{Name("王"), "王*"},
		{Email("shen@example.com"), "s***@example.com"},
		{Value("oX1234567890k9"), "oX…k9"},
		{Value("abc"), "***"},
	} {
		require.Equal(t, tc.want, tc.p.String())
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", tc.p, tc.p, tc.p, tc.p), tc.p.Reveal()+" ")
		j, err := json.Marshal(map[string]any{"p": tc.p})
		require.NoError(t, err)
		require.JSONEq(t, `{"p":"`+tc.want+`"}`, string(j))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "p", tc.p)
		require.Contains(t, log.String(), tc.want)
	}
}
