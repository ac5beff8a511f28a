package sheet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// Format is how a table is stored.
type Format string

// The formats.
const (
	FormatCSV  Format = "csv"
	FormatXLSX Format = "xlsx"
)

// Encoding is how text becomes bytes.
type Encoding string

// The encodings.
const (
	EncodingUTF8    Encoding = "UTF-8"
	EncodingGB18030 Encoding = "GB18030"
)

// Info is what one pass over a file tells.
type Info struct {
	Path     string
	Size     int64 // bytes on disk
	Hash     [32]byte
	Format   Format
	Gzip     bool
	Encoding Encoding
	comma    byte
}

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZip  = []byte("PK\x03\x04")
	bomUTF8   = []byte("\xef\xbb\xbf")
)

// Inspect reads the file once: its SHA-256 (what it is, whatever it is called), its format and its encoding.
func Inspect(path string) (Info, error) {
	info := Info{Path: path, Format: FormatCSV, Encoding: EncodingUTF8, comma: ','}
	f, err := os.Open(path)
	if err != nil {
		return info, ErrFile.With("file", filepath.Base(path)).Because(err)
	}
	defer f.Close()
	hash := sha256.New()
	size := &counter{}
	raw := bufio.NewReaderSize(io.TeeReader(f, io.MultiWriter(hash, size)), 1<<16)
	head, err := raw.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return info, fmt.Errorf("inspect %s: %w", filepath.Base(path), err)
	}
	var text *bufio.Reader
	switch {
	case bytes.HasPrefix(head, magicZip):
		info.Format = FormatXLSX
	case bytes.HasPrefix(head, magicGzip):
		info.Gzip = true
		gz, err := gzip.NewReader(raw)
		if err != nil {
			return info, ErrGzip.With("file", filepath.Base(path)).Because(err)
		}
		text = bufio.NewReaderSize(gz, 1<<16)
	default:
		text = raw
	}
	if text != nil {
		if err := info.scan(text); err != nil {
			if info.Gzip {
				return info, ErrGzip.With("file", filepath.Base(path)).Because(err)
			}
			return info, err
		}
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return info, fmt.Errorf("inspect %s: %w", filepath.Base(path), err)
	}
	info.Size = size.n
	copy(info.Hash[:], hash.Sum(nil))
	return info, nil
}

// scan decides the encoding by majority of lines: valid UTF-8 beyond ASCII against not UTF-8 but GB18030. Lines of the
// losing side become row errors when they are read. Short GB18030 words (职业, 联通) can be valid UTF-8 of two-byte
// characters by accident, which UTF-8 Chinese never is: such lines weigh only when they outnumber those that are surely
// GB18030.
func (info *Info) scan(r *bufio.Reader) error {
	head, err := r.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(head) >= 2 && (head[0] == 0xff && head[1] == 0xfe || head[0] == 0xfe && head[1] == 0xff) {
		return ErrUTF16.With("file", filepath.Base(info.Path))
	}
	bom := bytes.Equal(head, bomUTF8)
	var utf, gb, weak int
	first := true
	for {
		line, err := r.ReadSlice('\n')
		if first && len(line) > 0 {
			info.comma = separator(line)
			first = false
		}
		switch {
		case ascii(line):
		case utf8.Valid(line):
			if onlyTwoByte(line) && validGB18030(line) {
				weak++
			} else {
				utf++
			}
		case errors.Is(err, bufio.ErrBufferFull):
			// A piece of an over-long line may end inside a character: it has no vote.
		case validGB18030(line):
			gb++
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	if !bom && gb > utf && gb >= weak {
		info.Encoding = EncodingGB18030
	}
	return nil
}

// separator is whichever of comma, tab and semicolon the header line holds most; ties go to the comma.
func separator(header []byte) byte {
	best, count := byte(','), bytes.Count(header, []byte{','})
	for _, c := range []byte{'\t', ';'} {
		if n := bytes.Count(header, []byte{c}); n > count {
			best, count = c, n
		}
	}
	return best
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// onlyTwoByte says of valid UTF-8 whether no character takes three bytes or more.
func onlyTwoByte(b []byte) bool {
	for _, c := range b {
		if c >= 0xe0 {
			return false
		}
	}
	return true
}

func validGB18030(b []byte) bool {
	out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(b)
	return err == nil && !bytes.ContainsRune(out, utf8.RuneError)
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
