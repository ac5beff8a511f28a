package channels

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/member"
)

func testLinker(t testing.TB) *linker {
	ring, err := crypt.New(make([]byte, 32))
	require.NoError(t, err)
	return newLinker(ring)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	l := testLinker(t)
	rapid.Check(t, func(rt *rapid.T) {
		ref := Ref{member.Birth(rapid.Int64Range(1, 1<<40).Draw(rt, "birth")), rapid.Int64Range(0, 1<<62-1).Draw(rt, "id")}
		link := rapid.Int64Range(0, 1<<40).Draw(rt, "link")
		token := l.token(purposeClick, ref, link)
		got, gotLink, err := l.parse(purposeClick, token)
		require.NoError(rt, err)
		require.Equal(rt, ref, got)
		require.Equal(rt, link, gotLink)
		_, _, err = l.parse(purposeUnsubscribe, token)
		require.ErrorIs(rt, err, ErrToken)
		raw := []byte(token)
		i := rapid.IntRange(0, len(raw)-1).Draw(rt, "at")
		raw[i] ^= 1
		_, _, err = l.parse(purposeClick, string(raw))
		require.ErrorIs(rt, err, ErrToken)

		parsed, ok := ParseRef(ref.String())
		require.True(rt, ok)
		require.Equal(rt, ref, parsed)
	})
	require.Less(t, len(l.token(purposeClick, Ref{1_000_000, 1 << 61}, 100)), 36, "short enough for a text message")
}

func FuzzToken(f *testing.F) {
	l := testLinker(f)
	f.Add(l.token(purposeClick, Ref{1, 2}, 3))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		ref, link, err := l.parse(purposeClick, token)
		if err == nil && l.token(purposeClick, ref, link) != token {
			t.Fatalf("%q is not what we made", token)
		}
	})
}

func FuzzRewrite(f *testing.F) {
	f.Add(`<a href="https://a.b/?x=1&amp;y=2">x</a> https://c.d.`)
	f.Add(`href="http`)
	f.Fuzz(func(t *testing.T, s string) {
		same := func(a string) string { return a }
		if got := rewriteText(s, same); got != s {
			t.Fatalf("%q became %q", s, got)
		}
		once := rewriteHTML(s, same)
		if twice := rewriteHTML(once, same); twice != once {
			t.Fatalf("%q became %q", once, twice)
		}
	})
}
