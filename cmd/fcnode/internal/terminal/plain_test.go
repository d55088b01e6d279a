package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain äöü 漢字 👍\tand\nmore\n":  "plain äöü 漢字 👍\tand\nmore\n",
		"\x1b]0;title\a":               `\x1b]0;title\x07`,
		"\x1b[2J\x1b[1;1H":             `\x1b[2J\x1b[1;1H`,
		"over\rwritten":                `over\x0dwritten`,
		"of Windows\r\n":               "of Windows\n",
		"\u009b31m":                    `\u009b31m`,
		"\x9b31m":                      `\x9b31m`,
		"del\x7f\b":                    `del\u007f\x08`,
		"a\u202etxt.exe":               `a\u202etxt.exe`,
		"replaced \ufffd by \a others": "replaced \ufffd by \\x07 others",
		"\x00":                         `\x00`,
	} {
		if got := Text(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// TestPlainKeepsJSON: what a program reads is what it was.
func TestPlainKeepsJSON(t *testing.T) {
	want := "\x1b[31m \u009b \u202e \x7f \" \\ \n"
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := NewPlain(&out).Write(append(b, '\n')); err != nil || n != len(b)+1 {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if strings.ContainsAny(out.String(), "\x1b\u009b\u202e\x7f") {
		t.Errorf("the terminal gets %q", out.String())
	}
	var got string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != want {
		t.Errorf("a program reads %q, %v, want %q", got, err, want)
	}
}
