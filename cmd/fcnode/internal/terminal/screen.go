package terminal

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"unicode/utf8"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// What a terminal is told. The other screen keeps what was on the user's own.
const (
	otherScreen = "\x1b[?1049h\x1b[?25l" // and no cursor on it
	ownScreen   = "\x1b[?25h\x1b[?1049l"
	fromTheTop  = "\x1b[H"
	restOfLine  = "\x1b[K"
	restOfAll   = "\x1b[J"
)

// Screen is a terminal that shows one picture after the other, until Close
// gives it back as it was.
type Screen struct {
	out     *os.File
	keys    chan byte
	resized chan os.Signal
	closers []func()
}

// OpenScreen takes the terminal. Without a terminal as in it cannot be told
// anything by keys.
func OpenScreen(in any, out *os.File) (*Screen, error) {
	s := &Screen{out: out, keys: make(chan byte, 16), resized: make(chan os.Signal, 1)}
	if user, ok := File(in); ok {
		if err := s.readFrom(user); err != nil {
			return nil, err
		}
	}
	signal.Notify(s.resized, unix.SIGWINCH)
	if _, err := io.WriteString(out, otherScreen); err != nil {
		s.Close()
		return nil, fmt.Errorf("write to the terminal: %w", err)
	}
	return s, nil
}

func (s *Screen) readFrom(user *os.File) error {
	con, err := console.ConsoleFromFile(user)
	if err != nil {
		return fmt.Errorf("use the terminal: %w", err)
	}
	if err := con.SetRaw(); err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	reset := func() { _ = con.Reset() } // there is nothing else to try
	stop, err := readKeys(user, func(keys []byte) bool {
		for _, k := range keys {
			select {
			case s.keys <- k:
			default: // typed faster than looked at
			}
		}
		return true
	})
	if err != nil {
		reset()
		return err
	}
	s.closers = append(s.closers, reset, stop)
	return nil
}

// Keys are those that the user presses, as bytes.
func (s *Screen) Keys() <-chan byte { return s.keys }

// Resized tells that the size has changed.
func (s *Screen) Resized() <-chan os.Signal { return s.resized }

// Draw shows the lines, those and as much of each that there is room for; the
// last line stands at the bottom.
func (s *Screen) Draw(lines []string) error {
	rows, cols := Size(s.out)
	_, err := io.WriteString(s.out, picture(lines, int(rows), int(cols)))
	if err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

// picture puts the cursor home and overwrites, so that nothing flickers.
func picture(lines []string, rows, cols int) string {
	if len(lines) > rows {
		lines = append(append([]string(nil), lines[:rows-1]...), lines[len(lines)-1])
	}
	var b strings.Builder
	b.WriteString(fromTheTop)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(cut(Text(line), cols))
		b.WriteString(restOfLine)
	}
	b.WriteString(restOfAll)
	return b.String()
}

// cut shortens a line to so many characters.
func cut(line string, cols int) string {
	if utf8.RuneCountInString(line) <= cols {
		return line
	}
	return string([]rune(line)[:cols])
}

// Close gives the terminal back.
func (s *Screen) Close() {
	signal.Stop(s.resized)
	_, _ = io.WriteString(s.out, ownScreen)
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}
