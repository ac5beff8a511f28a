package product

import "slices"

// next is the life of a SKU: drafts are reviewed before they are sold; what is being delisted is not sold any more while
// what was sold can still be shipped and returned; what is archived stays.
var next = map[Status][]Status{
	StatusDraft:     {StatusInReview, StatusArchived},
	StatusInReview:  {StatusActive, StatusDraft},
	StatusActive:    {StatusInactive, StatusDelisting},
	StatusInactive:  {StatusActive, StatusDelisting},
	StatusDelisting: {StatusActive, StatusArchived},
	StatusArchived:  {},
}

// Next lists the statuses that may follow.
func (s Status) Next() []Status { return slices.Clone(next[s]) }

func (s Status) mayBecome(to Status) bool { return slices.Contains(next[s], to) }
