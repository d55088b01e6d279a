package strictyaml

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// MaxDocument is the size of the largest document that is read, in bytes. A
// spec of a site has about 300.
const MaxDocument = 1 << 20

// chunk is the text of one document and the number of lines before it.
type chunk struct {
	text  string
	above int
}

// split cuts src at the document marks. YAML lets neither "---" nor "..." stand
// at the start of a line in any other sense, not even in quotes or block text,
// so lines are enough. It is done here because the parser of goccy/go-yaml
// v1.19 silently loses the document that follows one made of comments only, and
// because a document with a syntax error must not hide the errors of the next.
func split(file string, src []byte) ([]chunk, Errors) {
	var errs Errors
	var chunks []chunk
	text := string(bytes.TrimPrefix(src, []byte("\ufeff")))
	var doc strings.Builder
	above, line := 0, 0
	flush := func() {
		if doc.Len() > 0 {
			chunks = append(chunks, chunk{text: doc.String(), above: above})
			doc.Reset()
		}
		above = line
	}
	for l := range strings.Lines(text) {
		line++
		mark, rest := markOf(l)
		if !mark {
			doc.WriteString(l)
			continue
		}
		flush()
		if rest != "" && !strings.HasPrefix(rest, "#") {
			errs = append(errs, &Error{
				File: file, Line: line, Column: 1,
				Msg: "something follows the document mark on its line", Allowed: "--- alone on its line, the document below it",
			})
		}
	}
	flush()
	return chunks, errs
}

// markOf says whether the line is a document mark ("---", "..."), and what
// follows it on the line.
func markOf(line string) (mark bool, rest string) {
	rest, ok := strings.CutPrefix(line, "---")
	if !ok {
		rest, ok = strings.CutPrefix(line, "...")
	}
	if !ok || (rest != "" && !strings.ContainsAny(rest[:1], " \t\r\n")) {
		return false, ""
	}
	return true, strings.TrimSpace(rest)
}

// checkText refuses what is no text: the parser replaces bad UTF-8 silently and
// takes control characters into strings.
func checkText(file string, src []byte) *Error {
	for i, line := 0, 1; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && n == 1 {
			return &Error{
				File: file, Line: line, Column: column(src, i),
				Msg: "is not UTF-8 text", Allowed: "YAML in UTF-8",
			}
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return &Error{
				File: file, Line: line, Column: column(src, i),
				Msg: "has a control character", Allowed: `printable text; in a quoted string write it as "\x1b"`,
			}
		}
		if r == '\r' && (i+1 == len(src) || src[i+1] != '\n') {
			return &Error{
				File: file, Line: line, Column: column(src, i),
				Msg: "has a carriage return inside of a line", Allowed: `lines that end in \n or \r\n`,
			}
		}
		if r == '\n' {
			line++
		}
		i += n
	}
	return nil
}

// column counts the characters of the line before byte i, from 1.
func column(src []byte, i int) int {
	start := bytes.LastIndexByte(src[:i], '\n') + 1
	return utf8.RuneCount(src[start:i]) + 1
}
