package terminal

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain is a writer for text that tenants have a part in: their output, the names of their processes, errors that quote them.
// It lets nothing through that a terminal would obey or that turns the order of what is read around. JSON stays the JSON
// that it was.
type Plain struct{ out io.Writer }

// NewPlain makes one that writes to out.
func NewPlain(out io.Writer) *Plain { return &Plain{out} }

// Write implements io.Writer.
func (p *Plain) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.out, Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Raw is what is behind a Plain: for sessions that are the user's own, and for what fcnode itself tells the terminal.
func Raw(w io.Writer) io.Writer {
	if p, ok := w.(*Plain); ok {
		return p.out
	}
	return w
}

// Text is text with what a terminal would obey written out, as in \x1b. Lines and tabs stay, an end of line of Windows becomes ours.
func Text(text string) string {
	if strings.IndexFunc(text, obeyed) < 0 {
		return text
	}
	var b strings.Builder
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i]) // a byte that is no text; 0x9b begins a command on some terminals
		case !obeyed(r) || r == utf8.RuneError:
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r) // as JSON has it
		}
	}
	return b.String()
}

// obeyed are control characters, the marks that turn the direction of text around, and bytes that are no text.
func obeyed(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
}
