package sheet_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"
	"pgregory.net/rapid"

	"github.com/lianke/lianke/internal/sheet"
)

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func readAll(t testing.TB, path string) (header []string, rows []sheet.Row) {
	t.Helper()
	info, err := sheet.Inspect(path)
	require.NoError(t, err)
	r, err := sheet.Open(info)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), rows
		}
		require.NoError(t, err)
		rows = append(rows, row)
	}
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

const sample = "sku,name\r\nA1,玫瑰茶杯\r\n\r\nA2,\"烛台, \"\"大\"\"\n双行\"\nA3,12\" 盘\n"

func TestOneTableInEveryFormAndEncoding(t *testing.T) {
	t.Parallel()
	gb, err := simplifiedchinese.GB18030.NewEncoder().String(sample)
	require.NoError(t, err)
	var book bytes.Buffer
	x, err := sheet.NewXLSX(&book)
	require.NoError(t, err)
	for _, row := range [][]string{{"sku", "name"}, {"A1", "玫瑰茶杯"}, {}, {"A2", "烛台, \"大\"\n双行"}, {"A3", `12" 盘`}} {
		require.NoError(t, x.Write(row))
	}
	require.NoError(t, x.Close())
	for name, data := range map[string][]byte{
		"utf8.csv":    []byte(sample),
		"bom.csv":     []byte("\xef\xbb\xbf" + sample),
		"gb.csv":      []byte(gb),
		"utf8.csv.gz": gz(t, []byte(sample)),
		"gb.csv.gz":   gz(t, []byte(gb)),
		"tab.csv":     []byte(strings.ReplaceAll(strings.ReplaceAll(sample, ",", "\t"), "烛台\t", "烛台,")),
		"book.xlsx":   book.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header, rows := readAll(t, write(t, name, data))
			require.Equal(t, []string{"sku", "name"}, header)
			require.Len(t, rows, 3)
			for i, want := range [][]string{{"A1", "玫瑰茶杯"}, {"A2", "烛台, \"大\"\n双行"}, {"A3", `12" 盘`}} {
				require.NoError(t, rows[i].Err)
				require.Equal(t, want, rows[i].Cells)
			}
			require.Equal(t, 2, rows[0].Line)
			require.Equal(t, 4, rows[1].Line)
		})
	}
}

func TestBrokenRowsAreErrorsOfTheirRowOnly(t *testing.T) {
	t.Parallel()
	data := "a,b\n1,2\n3\n4,5,6\n\"x\"y,1\n\"open,1\n7,8\n\xff\xfe,9\n10,\x00\n" + strings.Repeat("z", sheet.MaxRow+10) + ",1\n11,12\n"
	_, rows := readAll(t, write(t, "broken.csv", []byte(data)))
	var got []string
	for _, r := range rows {
		if r.Err == nil {
			got = append(got, fmt.Sprintf("%d ok", r.Line))
			continue
		}
		code, _, _ := strings.Cut(r.Err.Error(), ":")
		got = append(got, fmt.Sprintf("%d %s", r.Line, code))
	}
	require.Equal(t, []string{
		"2 ok", "3 row.cells", "4 row.cells", "5 row.quote", "6 row.too_long", "7 ok", "8 row.encoding", "9 row.control",
		"10 row.too_long", "11 ok",
	}, got)
}

func TestAnInvalidByteLateInAUTF8FileDoesNotTurnItIntoGB18030(t *testing.T) {
	t.Parallel()
	data := "a\n" + strings.Repeat("玫瑰\n", 1000) + "\xb0\xa1\n" + "茶杯\n"
	_, rows := readAll(t, write(t, "late.csv", []byte(data)))
	require.Len(t, rows, 1002)
	require.Equal(t, "玫瑰", rows[0].Cells[0])
	require.Error(t, rows[1000].Err)
	require.Equal(t, "茶杯", rows[1001].Cells[0])
}

func TestChineseFirstMetFarIntoAGB18030File(t *testing.T) {
	t.Parallel()
	tail, err := simplifiedchinese.GB18030.NewEncoder().String("玫瑰茶杯")
	require.NoError(t, err)
	_, rows := readAll(t, write(t, "far.csv", []byte("a\n"+strings.Repeat("plain\n", 50000)+tail+"\n")))
	require.Equal(t, "玫瑰茶杯", rows[50000].Cells[0])
}

func TestAGB18030HeaderThatHappensToBeUTF8DoesNotHideTheRest(t *testing.T) {
	t.Parallel()
	gb, err := simplifiedchinese.GB18030.NewEncoder().String("a,attr.职业\n沈若溪,厨师\n")
	require.NoError(t, err)
	header, rows := readAll(t, write(t, "header.csv", []byte(gb)))
	require.Equal(t, []string{"a", "attr.职业"}, header)
	require.NoError(t, rows[0].Err)
	require.Equal(t, []string{"沈若溪", "厨师"}, rows[0].Cells)

	latin := "a\n" + strings.Repeat("Zoé\n", 10) + "\xb0\xa1\n"
	_, rows = readAll(t, write(t, "latin.csv", []byte(latin)))
	require.Equal(t, "Zoé", rows[0].Cells[0])
}

func TestFilesThatAreNoTable(t *testing.T) {
	t.Parallel()
	open := func(name string, data []byte) error {
		info, err := sheet.Inspect(write(t, name, data))
		if err != nil {
			return err
		}
		r, err := sheet.Open(info)
		if err == nil {
			return r.Close()
		}
		return err
	}
	require.ErrorIs(t, open("empty.csv", nil), sheet.ErrEmpty)
	require.ErrorIs(t, open("blank.csv", []byte("\n\n")), sheet.ErrEmpty)
	require.ErrorIs(t, open("twice.csv", []byte("a,b,a\n1,2,3\n")), sheet.ErrColumnTwice)
	require.ErrorIs(t, open("wide.csv", []byte("\xff\xfea\x00,\x00")), sheet.ErrUTF16)
	require.ErrorIs(t, open("fake.xlsx", []byte("PK\x03\x04 nothing behind it")), sheet.ErrXLSX)
	whole := gz(t, []byte(strings.Repeat(sample, 1000)))
	require.ErrorIs(t, open("cut.csv.gz", whole[:len(whole)/2]), sheet.ErrGzip)
}

func TestFormulasAreGuarded(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "玫瑰": "玫瑰", "-12.5": "-12.5", "+8613800000000": "+8613800000000", "=1+1": "'=1+1", "@SUM(A1)": "'@SUM(A1)",
		"-2+3": "'-2+3", "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0", "\t=1": "'\t=1",
	} {
		require.Equal(t, want, sheet.Guard(in), in)
	}
}

// What the standard library writes, the reader reads, whatever is in the cells.
func TestReadsWhatEncodingCSVWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		cell := rapid.StringMatching(`[a-z玫瑰",;\n ]{0,8}`)
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 3, 3), 0, 8).Draw(rt, "rows")
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		require.NoError(t, w.Write([]string{"a", "b", "c"}))
		require.NoError(t, w.WriteAll(rows))
		path := filepath.Join(dir, "t.csv")
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		_, got := readAll(t, path)
		require.Len(t, got, len(rows))
		for i := range rows {
			require.NoError(t, got[i].Err)
			require.Equal(t, rows[i], got[i].Cells)
		}
	})
}

func TestMemoryDoesNotGrowWithTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "long.csv.gz")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := gzip.NewWriter(f)
	fmt.Fprintln(w, "a,b,c")
	for i := range 300_000 {
		fmt.Fprintf(w, "%d,some text of a usual length,%d\n", i, i*7)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	info, err := sheet.Inspect(path)
	require.NoError(t, err)
	r, err := sheet.Open(info)
	require.NoError(t, err)
	defer r.Close()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if n++; n%100_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			require.Less(t, int64(now.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20))
		}
	}
	require.Equal(t, 300_000, n)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a,b\n\"open\n1,2"))
	f.Add([]byte("\xef\xbb\xbfa;b\r\n\xb0\xa1;2"))
	f.Add([]byte("a\n\r\r\n\"\"\"\"\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.HasPrefix(data, []byte("PK")) {
			return
		}
		path := write(t, "fuzz", data)
		info, err := sheet.Inspect(path)
		if err != nil {
			return
		}
		r, err := sheet.Open(info)
		if err != nil {
			return
		}
		defer r.Close()
		last := 0
		for {
			row, err := r.Next()
			if err != nil {
				return
			}
			if row.Line <= last {
				t.Fatalf("line %d after line %d", row.Line, last)
			}
			last = row.Line
			if row.Err == nil && len(row.Cells) != len(r.Header()) {
				t.Fatalf("%d cells under %d columns", len(row.Cells), len(r.Header()))
			}
		}
	})
}
