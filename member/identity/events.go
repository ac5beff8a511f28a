package identity

import "github.com/lianke/lianke/member"

// Merged is published when an operator joined two members. Evidence from touchpoints joins members by the thousand and is
// announced in the feed only.
type Merged struct {
	Root   member.ID   `json:"root"`
	Before []member.ID `json:"before"`
	Actor  string      `json:"actor"`
}

// EventName names the event.
func (Merged) EventName() string { return "member.identity.merged" }

// Split is published when an operator took a member apart.
type Split struct {
	Before member.ID      `json:"before"`
	Roots  []member.ID    `json:"roots"`
	Moved  []member.Birth `json:"moved"`
	Actor  string         `json:"actor"`
}

// EventName names the event.
func (Split) EventName() string { return "member.identity.split" }

// Erased is published when a person's data was erased.
type Erased struct {
	Root   member.ID      `json:"root"`
	Births []member.Birth `json:"births"`
	Actor  string         `json:"actor"`
}

// EventName names the event.
func (Erased) EventName() string { return "member.identity.erased" }
