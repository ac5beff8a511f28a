package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/sheet"
)

// rejectColumns stand before the original ones, so that a mended reject file can be imported as it is.
var rejectColumns = []string{"line", "column", "reason", "text_zh", "text_en"}

// rejects writes bad rows. The file holds what people typed, personal data included: it is readable by its owner only.
type rejects struct {
	path   string
	header []string
	file   *os.File
	size   int64
}

// openRejects continues the file at the given size, or begins anew at size 0. Nothing is created before the first bad row.
func openRejects(path string, header []string, size int64) (*rejects, error) {
	r := &rejects{path: path, header: header}
	if path == "" {
		return r, nil
	}
	if size == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("replace reject file: %w", err)
		}
		return r, nil
	}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() < size {
		// Someone took it away between the two runs: the rest goes into a new one.
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("continue reject file: %w", err)
	}
	if r.file, err = os.OpenFile(path, os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("continue reject file: %w", err)
	}
	r.size = size
	return r, nil
}

// render returns the bad rows as they will stand in the file, and the size the file will have with them.
func (r *rejects) render(rows []badRow) (text string, size int64, err error) {
	if r.path == "" || len(rows) == 0 {
		return "", r.size, nil
	}
	var out strings.Builder
	w := sheet.NewCSV(&out)
	if r.size == 0 {
		out.WriteString("\uFEFF")
		if err := w.Write(slices.Concat(rejectColumns, r.header)); err != nil {
			return "", 0, fmt.Errorf("render rejects: %w", err)
		}
	}
	for _, row := range rows {
		var columns, codes, zh, en []string
		for _, p := range row.problems {
			columns, codes = append(columns, p.Path), append(codes, p.Code)
			zh, en = append(zh, sentence(p.Path, p.Text.ZH, p.Hint.ZH)), append(en, sentence(p.Path, p.Text.EN, p.Hint.EN))
		}
		cells := []string{strconv.Itoa(row.line), strings.Join(columns, "; "), strings.Join(codes, "; "), strings.Join(zh, "; "), strings.Join(en, "; ")}
		if err := w.Write(append(cells, row.cells...)); err != nil {
			return "", 0, fmt.Errorf("render rejects: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return "", 0, fmt.Errorf("render rejects: %w", err)
	}
	return out.String(), r.size + int64(out.Len()), nil
}

// write puts the text behind size, replacing what an attempt that was not committed left there.
func (r *rejects) write(text string) error {
	if text == "" {
		return nil
	}
	if r.file == nil {
		f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("create reject file: %w", err)
		}
		if err := f.Chmod(0o600); err != nil {
			return errors.Join(fmt.Errorf("create reject file: %w", err), f.Close())
		}
		r.file = f
	}
	err := r.file.Truncate(r.size)
	if err == nil {
		_, err = r.file.WriteAt([]byte(text), r.size)
	}
	if err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write reject file: %w", err)
	}
	return nil
}

func (r *rejects) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func sentence(path, text, hint string) string {
	if path != "" {
		text = path + ": " + text
	}
	if hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

type badRow struct {
	line     int
	cells    []string
	problems []fault.Field
}

// problemsOf returns what a row error of sheet says.
func problemsOf(err error) []fault.Field {
	f := fault.From(err)
	return append([]fault.Field{{Code: f.Code, Text: f.Text, Hint: f.Hint}}, f.Fields...)
}
