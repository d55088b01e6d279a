package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// MaxLine is the longest text, in bytes, that is kept in one line; longer ones
// are cut into parts.
const MaxLine = 16 << 10

// timeFormat is RFC 3339 with all nine digits, so that lines sort as text.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// The streams of a process.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// ErrFormat is returned for a line that is not in the format.
var ErrFormat = errors.New("not a line of a container log")

// Line is a line of a site's output.
type Line struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"` // Stdout or Stderr
	Partial bool      `json:"partial,omitempty"`
	Replica string    `json:"replica,omitempty"`
	Text    string    `json:"text"` // without the newline
}

// appendLine appends a formatted line to buf.
func appendLine(buf []byte, at time.Time, stream, replica string, partial bool, text []byte) []byte {
	buf = at.UTC().AppendFormat(buf, timeFormat)
	buf = append(buf, ' ')
	buf = append(buf, stream...)
	if partial {
		buf = append(buf, " P"...)
	} else {
		buf = append(buf, " F"...)
	}
	if replica != "" {
		buf = append(buf, ':')
		buf = append(buf, replica...)
	}
	buf = append(buf, ' ')
	buf = append(buf, text...)
	return append(buf, '\n')
}

// Parse reads a formatted line.
func Parse(line []byte) (Line, error) {
	stamp, rest, ok1 := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, text, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !ok3 {
		return Line{}, fmt.Errorf("%w: %.80q", ErrFormat, line)
	}
	at, err := time.Parse(timeFormat, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	l := Line{Time: at, Stream: string(stream), Text: string(text)}
	tag, replica, _ := bytes.Cut(tags, []byte(":"))
	l.Replica = string(replica)
	switch string(tag) {
	case "F":
	case "P":
		l.Partial = true
	default:
		return Line{}, fmt.Errorf("%w: tag %q", ErrFormat, tag)
	}
	return l, nil
}
