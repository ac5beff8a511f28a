// Package obs is how a process is watched: structured logs, Prometheus metrics of HTTP, the database pool and the loops,
// OpenTelemetry traces when a collector is configured, and the admin server with /healthz, /readyz, /metrics and
// /debug/pprof. The admin server shows inner things and has no sign-in: it belongs on a loopback or private address.
//
// /healthz answers as long as the process can answer at all. /readyz says whether it should be given work: the database
// answers, every loop has been started, and it is not stopping. A Redis that is gone or a loop that keeps failing is
// reported there and does not make the process unready: the rest still serves.
package obs
