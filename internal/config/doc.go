// Package config reads what an installation may set, all of it from LIANKE_* environment variables, into one struct.
// docs/config.md is generated from the struct's tags and compared by a test; `lianke config` prints the effective values
// with secrets masked. Flags of a command overrule the environment. Nothing else in the house reads the environment.
package config
