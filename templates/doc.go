// Package templates owns what a message says: templates, their immutable versions and the renderer, and the schema
// `templates`. It knows the shape of each channel's content (a WeChat template message has slots and a link, a mail has
// a subject and two bodies) but not how a message leaves: that is channels.
//
// Tables: templates.templates (one row per code), templates.versions (content in zh and en; never changed once written).
//
// Language. Texts are Liquid, cut down to what marketers need and bounded by construction (check.go): tags and filters
// from an allow-list, no includes, no captures, no ranges, one loop deep over a declared list of at most 100 items,
// every filter that can grow a text limited, output capped, the context checked at every write. A text that would break
// a limit is refused on save, with the field and the line. Mail HTML is escaped by default and there is no way to turn
// that off from a template. Templates see declared variables and the few fields of the member they name, nothing else;
// a template that names an undeclared variable is refused.
//
// Versions. Save writes a new version; Publish makes it the one that new messages use. A message remembers template,
// version, locale and its (encrypted) bindings, so what a member was sent can be shown again exactly without keeping the
// text of every message.
//
// Failure: all rules are checked on save and again by Lint on publish; rendering can fail only for the data of one
// message (a required variable without a value, a text too long), which fails that message and no other.
package templates
