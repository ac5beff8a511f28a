package importer

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
)

// Kind is one kind of file.
type Kind interface {
	// Name is what the command line and the job call it.
	Name() string
	// Columns are those the kind reads.
	Columns() []Column
	// Parse turns a row into a record, pure, without I/O. Key names the record among all of its kind. What is wrong with
	// the row is said through f; the record is then not used. Records are compared by their JSON form.
	Parse(f *Fields) (key string, record any)
	// Load stores records in tx; their keys differ. It returns one Result per record, in order.
	Load(ctx context.Context, tx pgx.Tx, b Batch) ([]Result, error)
}

// Grouper is a Kind whose records belong together, like the lines of an order. Neighbours of one group go into one batch
// where they fit; a group may still be spread over the file.
type Grouper interface {
	Group(record any) string
}

// Column is one column of a kind. A name that ends in "." is a family: attr. stands for attr.colour and attr.size.
type Column struct {
	Name     string
	Required bool // the header must have it; whether a cell may be empty is Parse's to say
	// Values are those that mean something. Parse refuses others, unless Open: then they are kept, with a warning.
	Values []string
	Open   bool
}

// Record is one parsed row.
type Record struct {
	Line  int
	Key   string
	Value any
	// Update says that the key was taken before with other content.
	Update bool
}

// Batch is what Load stores at once.
type Batch struct {
	Records []Record
	// Live facts may set things in motion; others are backfill.
	Live bool
	// Now is the time of recording.
	Now time.Time
}

// Result is what became of one record.
type Result struct {
	// Reject, if set, says why the record was not stored.
	Reject *fault.Field
	// Warnings do not keep the record from being stored.
	Warnings []Warning
	// NetFen is what the record adds to the run's net amount, in fen.
	NetFen money.Fen
}

// Warning is something people should look at.
type Warning struct {
	Code    string
	Subject string // a code or a place in the file, never personal data
	Hint    string // what would have been right, if that can be said: values, names
}

// Input is one run.
type Input struct {
	Kind string
	Path string
	// RejectsPath is where bad rows go; empty means none is written.
	RejectsPath string
	DryRun      bool
	Live        bool
	// Progress, if set, is called after each batch.
	Progress func(Progress)
	// Rejected, if set, is told of each bad row, once, after its batch is committed.
	Rejected func(line int, problems []fault.Field)
	// Warned, if set, is told of each distinct warning.
	Warned func(Warning)
}

// Progress is how far a run is.
type Progress struct {
	Rows        int64
	Read, Bytes int64 // of the file
	Resumed     int64 // rows that an earlier run had taken
	Elapsed     time.Duration
}

// Report is the outcome of a run. A resumed run counts the rows that it took before it was interrupted as well.
type Report struct {
	Kind       string           `json:"kind"`
	Rows       int64            `json:"rows"`
	Accepted   int64            `json:"accepted"`
	Rejected   int64            `json:"rejected"`
	Duplicates int64            `json:"duplicates"`
	NetFen     money.Fen        `json:"net_fen"`
	Warnings   map[string]int64 `json:"warnings,omitempty"`
	Rejects    string           `json:"rejects,omitempty"`
	Resumed    int64            `json:"resumed,omitempty"`
	DryRun     bool             `json:"dry_run,omitempty"`
}

// Add sums two reports, for several files.
func (r Report) Add(o Report) Report {
	r.Rows += o.Rows
	r.Accepted += o.Accepted
	r.Rejected += o.Rejected
	r.Duplicates += o.Duplicates
	r.NetFen += o.NetFen
	r.Resumed += o.Resumed
	warnings := map[string]int64{}
	for _, m := range []map[string]int64{r.Warnings, o.Warnings} {
		for code, n := range m {
			warnings[code] += n
		}
	}
	r.Warnings = warnings
	if r.Rejects == "" {
		r.Rejects = o.Rejects
	}
	return r
}

// Warn puts warnings about a batch on its first result.
func Warn(results []Result, code string, subjects []string) {
	for _, s := range subjects {
		results[0].Warnings = append(results[0].Warnings, Warning{Code: code, Subject: s})
	}
}
