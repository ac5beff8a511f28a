// Package crypt keeps personal data unreadable at rest and still findable.
//
//	master key(s) ──wraps──▶ data key of a birth ──seals──▶ name, phone, openid … of that birth
//	      └──derives──▶ token key ──HMAC──▶ blind tokens, by which equality is tested without reading
//
// The master key is 32 bytes; package config finds or makes it. A Ring takes several: the first wraps new data keys, the
// others still open old ones, so a master key is rotated by putting a new one in front and calling Rewrap on stored keys.
// The token key derives from the last one and therefore survives rotation.
//
// Erasing a person means deleting the wrapped data keys of their births: what they sealed is noise afterwards, in backups
// too. Tokens are HMAC-SHA256 cut to 128 bit; without the master key they cannot be enumerated, which a plain hash of an
// 11-digit phone number could be in seconds.
package crypt
