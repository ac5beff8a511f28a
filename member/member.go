// Package member owns people: births, members, their profile, consent and tags, and the schema `member`. Its subpackages
// hold the identity graph (identity), the log of what members do (activity), loyalty (points) and the door through which
// all touchpoints report a person (capture). This package holds the words they share.
package member

import "strconv"

// Birth is the number given once, for ever, to an identifier. Facts (activity, point lots, coupons, consent, journey
// runs) hang on the birth that produced them and never move. JSON carries it as a string.
type Birth int64

// String returns the decimal form.
func (b Birth) String() string { return strconv.FormatInt(int64(b), 10) }

// ID is a member or visitor: the root of a cluster of births, which is the smallest birth in it.
type ID int64

// String returns the decimal form.
func (m ID) String() string { return strconv.FormatInt(int64(m), 10) }

// Mode says whether a fact may set things in motion.
type Mode string

// The modes of a fact.
const (
	// ModeLive facts trigger journeys, grants and messages.
	ModeLive Mode = "live"
	// ModeBackfill facts update segments and statistics, but never start a run, grant or send.
	ModeBackfill Mode = "backfill"
)

// MaxCluster is how many births one member may have; reads resolve birth = ANY(cluster) and rely on it.
const MaxCluster = 200

// Touchpoint is where a member meets the brand.
type Touchpoint string

// The touchpoints that orders and activities carry.
const (
	TouchpointPOS         Touchpoint = "pos"
	TouchpointMiniProgram Touchpoint = "miniprogram"
	TouchpointApp         Touchpoint = "app"
	TouchpointWeb         Touchpoint = "web"
	TouchpointTmall       Touchpoint = "tmall"
	TouchpointJD          Touchpoint = "jd"
	TouchpointWeibo       Touchpoint = "weibo"
	TouchpointWeChat      Touchpoint = "wechat"
	TouchpointCallCentre  Touchpoint = "call_centre"
	TouchpointB2B         Touchpoint = "b2b"
)

// Touchpoints are those that mean something to the house. Files and other systems may carry others.
func Touchpoints() []string {
	all := []Touchpoint{
		TouchpointPOS, TouchpointMiniProgram, TouchpointApp, TouchpointWeb, TouchpointTmall, TouchpointJD, TouchpointWeibo, TouchpointWeChat,
		TouchpointCallCentre, TouchpointB2B,
	}
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = string(t)
	}
	return names
}
