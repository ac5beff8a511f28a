package embedded

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

const settingsFile = "lianke.conf"

// settings are PostgreSQL's, for a machine of two cores that runs everything. Whoever needs others writes them into
// postgresql.conf, where they overrule these.
func settings(test bool) string {
	shared := min(max(memoryMB()/4, 128), 1024)
	if test {
		shared = 256
	}
	lines := []string{
		"# Written by lianke at each start; change postgresql.conf instead.",
		"max_connections = 200",
		fmt.Sprintf("shared_buffers = %dMB", shared),
		fmt.Sprintf("effective_cache_size = %dMB", min(max(memoryMB()/2, 256), 8192)),
		"work_mem = 16MB",
		"maintenance_work_mem = 128MB",
		"max_parallel_workers_per_gather = 1",
		"max_locks_per_transaction = 256", // partitions
		"jit = off",
		"random_page_cost = 1.1",
		"wal_level = minimal",
		"max_wal_senders = 0",
		"wal_compression = on",
		"min_wal_size = 256MB",
		"max_wal_size = 4GB",
		"checkpoint_timeout = 15min",
		"default_toast_compression = lz4",
		"autovacuum_naptime = 20s",
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"lc_messages = 'C'", // errors are told apart by code and constraint; the log is for people
		"log_min_duration_statement = -1",
		"log_checkpoints = off",
		// Rows and parameters are personal data and stay out of the log.
		"log_error_verbosity = terse",
		"log_min_error_statement = panic",
		"log_parameter_max_length = 0",
		"log_parameter_max_length_on_error = 0",
		"log_line_prefix = '%m [%p] '",
	}
	if test {
		lines = append(lines,
			"fsync = off",
			"synchronous_commit = off",
			"full_page_writes = off",
			"max_connections = 400",
			"max_wal_size = 8GB",
		)
	}
	return strings.Join(lines, "\n") + "\n"
}

// memoryMB is the machine's memory, or 1 GB where it cannot be told.
func memoryMB() int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 1024
	}
	for line := range bytes.Lines(text) {
		var kb int
		if n, _ := fmt.Sscanf(string(line), "MemTotal: %d kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	return 1024
}
