package main

import "github.com/lianke/lianke/segments"

// wireSegments constructs segments on the activity feed; the role segments keeps their membership current.
func (a *app) wireSegments() {
	a.segments = segments.New(a.db, a.clock, a.log, a.activity)
	segments.Routes(a.api, a.segments)
	a.loop("segments", "segment membership", a.segments.Follow)
	a.loop("segments", "segment wheel", a.segments.RunWheel)
}
