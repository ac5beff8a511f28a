// Package contact answers how members can be reached, in sets: it locks their rows, says where they stand, opens the
// addresses and the fields that messages show. It reads the tables of member and owns none. Channels and templates use it
// through interfaces of their own.
package contact

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/cluster"
)

// Book is the address book.
type Book struct {
	secrets *member.Secrets
}

// New returns the book.
func New(secrets *member.Secrets) *Book { return &Book{secrets} }

// Standing is where a birth stands under the lock: its member, the births of that member, and the channel identity.
type Standing struct {
	Root     member.ID
	Births   []member.Birth
	Identity member.Birth // 0: the member cannot be reached on the channel
	Granted  bool         // effective consent for the channel
}

const reachSQL = `
SELECT r.id, r.birth, r.granted, b.scope
FROM member.reach r
JOIN member.births b USING (birth)
WHERE r.id = ANY(@roots) AND r.channel = @channel`

// The newest identity of one app, for members whose identity in reach belongs to another one.
const scopedSQL = `
SELECT DISTINCT ON (root) root, birth
FROM member.births
WHERE root = ANY(@roots) AND ns = @ns AND scope = @scope AND erased_at IS NULL AND NOT quarantined
ORDER BY root, member.seen_at(birth, root) DESC NULLS LAST, tie`

// Namespaces whose identities belong to an app, by channel.
var scoped = map[string]string{"wechat": "wechat_openid", "miniprogram": "wechat_openid", "wecom": "wecom_external"}

// Lock locks the members of the births (cluster.Lock) and returns where each stands now. scope is the app or corp of the
// sending account, where identities belong to one. Births that do not exist are absent.
func (k *Book) Lock(ctx context.Context, tx pgx.Tx, births []member.Birth, channel, scope string) (map[member.Birth]Standing, error) {
	exist, err := cluster.Roots(ctx, tx, births)
	if err != nil {
		return nil, err
	}
	clusters, err := cluster.Lock(ctx, tx, slices.Collect(maps.Keys(exist)))
	if err != nil {
		return nil, err
	}
	standing, err := k.standings(ctx, tx, clusters, channel, scope)
	if err != nil {
		return nil, err
	}
	out := make(map[member.Birth]Standing, len(clusters))
	for b, c := range clusters {
		out[b] = standing[c.Root]
	}
	return out, nil
}

func (k *Book) standings(ctx context.Context, db pg.DB, clusters map[member.Birth]cluster.Cluster, channel, scope string) (map[member.ID]Standing, error) {
	out := make(map[member.ID]Standing, len(clusters))
	for _, c := range clusters {
		out[c.Root] = Standing{Root: c.Root, Births: c.Births}
	}
	rows, err := db.Query(ctx, reachSQL, pg.Args{"roots": slices.Collect(maps.Keys(out)), "channel": channel})
	if err != nil {
		return nil, fmt.Errorf("read reach: %w", err)
	}
	var (
		root    member.ID
		birth   member.Birth
		granted bool
		app     string
		elsehow []int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&root, &birth, &granted, &app}, func() error {
		st := out[root]
		st.Granted = granted
		if scope == "" || scoped[channel] == "" || app == scope {
			st.Identity = birth
		} else {
			elsehow = append(elsehow, int64(root))
		}
		out[root] = st
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read reach: %w", err)
	}
	if len(elsehow) == 0 {
		return out, nil
	}
	if rows, err = db.Query(ctx, scopedSQL, pg.Args{"roots": elsehow, "ns": scoped[channel], "scope": scope}); err != nil {
		return nil, fmt.Errorf("read app identities: %w", err)
	}
	_, err = pgx.ForEachRow(rows, []any{&root, &birth}, func() error {
		st := out[root]
		st.Identity = birth
		out[root] = st
		return nil
	})
	return out, err
}

// kinds of personal data behind each channel.
var kinds = map[string]string{"sms": crypt.KindPhone, "email": crypt.KindEmail, "wechat": crypt.KindValue, "miniprogram": crypt.KindValue,
	"wecom": crypt.KindValue, "push": crypt.KindValue}

// Addresses opens channel identities, with the key under which more may be sealed for the same birth. Births without an
// address, or erased ones, are absent.
func (k *Book) Addresses(ctx context.Context, db pg.DB, channel string, births []member.Birth) (map[member.Birth]member.Opened, error) {
	return k.secrets.OpenWithKeys(ctx, db, births, kinds[channel])
}

// OpenSealed opens what was sealed with a key from Addresses.
func (k *Book) OpenSealed(ctx context.Context, db pg.DB, birth member.Birth, kind string, sealed []byte) (string, error) {
	return k.secrets.OpenSealed(ctx, db, birth, kind, sealed)
}

const attrsSQL = `
SELECT b.birth, m.attrs
FROM member.births b
JOIN member.members m ON m.id = b.root
WHERE b.birth = ANY(@births)`

const namedSQL = `
SELECT DISTINCT ON (o.birth) o.birth, s.birth
FROM member.births o
JOIN member.births c ON c.root = o.root
JOIN member.secrets s ON s.birth = c.birth AND s.kind = 'name'
WHERE o.birth = ANY(@births)
ORDER BY o.birth, s.at DESC, c.tie`

// Bindings returns the member fields that templates read: "name" (personal data), "gender", "province", "city",
// "home_store" and attributes as "attrs". Only what is named is read.
func (k *Book) Bindings(ctx context.Context, db pg.DB, births []member.Birth, fields []string) (map[member.Birth]map[string]any, error) {
	out := make(map[member.Birth]map[string]any, len(births))
	for _, b := range births {
		out[b] = map[string]any{}
	}
	if slices.ContainsFunc(fields, func(f string) bool { return f != "name" }) {
		if err := k.bindAttrs(ctx, db, births, fields, out); err != nil {
			return nil, err
		}
	}
	if slices.Contains(fields, "name") {
		if err := k.bindNames(ctx, db, births, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (k *Book) bindAttrs(ctx context.Context, db pg.DB, births []member.Birth, fields []string, out map[member.Birth]map[string]any) error {
	rows, err := db.Query(ctx, attrsSQL, pg.Args{"births": births})
	if err != nil {
		return fmt.Errorf("read member fields: %w", err)
	}
	var (
		birth member.Birth
		raw   []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&birth, &raw}, func() error {
		var all map[string]any
		if err := json.Unmarshal(raw, &all); err != nil {
			return err
		}
		bound := out[birth]
		for _, f := range fields {
			name, custom := strings.CutPrefix(f, "attrs.")
			v, ok := all[name]
			if custom && !ok {
				v, ok = all["attr."+name]
			}
			switch {
			case !ok || f == "name":
			case custom:
				attrs, _ := bound["attrs"].(map[string]any)
				if attrs == nil {
					attrs = map[string]any{}
					bound["attrs"] = attrs
				}
				attrs[name] = v
			default:
				bound[name] = v
			}
		}
		return nil
	})
	return err
}

func (k *Book) bindNames(ctx context.Context, db pg.DB, births []member.Birth, out map[member.Birth]map[string]any) error {
	rows, err := db.Query(ctx, namedSQL, pg.Args{"births": births})
	if err != nil {
		return fmt.Errorf("find names: %w", err)
	}
	holder := map[member.Birth]member.Birth{}
	var asked, named member.Birth
	if _, err := pgx.ForEachRow(rows, []any{&asked, &named}, func() error {
		holder[asked] = named
		return nil
	}); err != nil {
		return fmt.Errorf("find names: %w", err)
	}
	list := make([]member.Birth, 0, len(holder))
	for _, h := range holder {
		list = append(list, h)
	}
	names, err := k.secrets.OpenWithKeys(ctx, db, list, crypt.KindName)
	if err != nil {
		return err
	}
	for asked, h := range holder {
		if n, ok := names[h]; ok {
			out[asked]["name"] = n.Value.Reveal()
		}
	}
	return nil
}
