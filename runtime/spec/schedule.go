package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Task is a command that is run in the site at its times. In a file a line as of crontab(5) will do, whose command /bin/sh of the site runs:
// "*/15 * * * * curl -fsS http://127.0.0.1/wp-cron.php".
type Task struct {
	// At is when: minute, hour, day of the month, month and day of the week as in crontab(5), or @hourly, @daily, @weekly, @monthly,
	// @yearly. The times are those of the node's time zone.
	At string `json:"at" jsonschema:"required" also:"cron,when,time"`
	// Exec is the command.
	Exec []string `json:"exec" jsonschema:"required" also:"command,cmd,run,args"`
	// Timeout is how long it may take, 1s to 24h. Default: 1h.
	Timeout Duration `json:"timeout,omitzero" also:"deadline"`
}

// DefaultTaskTimeout is taken where a task says nothing.
const DefaultTaskTimeout = Duration(time.Hour)

const (
	maxTasks       = 16
	minTaskTimeout = Duration(time.Second)
	maxTaskTimeout = Duration(24 * time.Hour)

	taskAllowed = `a line like "*/15 * * * * curl -fsS http://127.0.0.1/cron.php", or a mapping of at, exec, timeout`
	atAllowed   = "minute hour day month weekday, like */15 * * * *, or @hourly, @daily, @weekly, @monthly, @yearly"
	cronFields  = 5
)

var (
	cronWords = []string{"@hourly", "@daily", "@weekly", "@monthly", "@yearly"}
	// cronForm is one field. What else the library reads (seconds, years, L, W, #, ?) no crontab has.
	cronForm = regexp.MustCompile(`^((\*|[0-9]{1,2}|[A-Za-z]{3})(-([0-9]{1,2}|[A-Za-z]{3}))?(/[0-9]{1,2})?)(,((\*|[0-9]{1,2}|[A-Za-z]{3})(-([0-9]{1,2}|[A-Za-z]{3}))?(/[0-9]{1,2})?))*$`)
	cronStep = regexp.MustCompile(`/([0-9]+)`)
	cronMost = [cronFields]int{59, 23, 31, 12, 7}
)

// Within bounds one run.
func (t Task) Within() time.Duration {
	if t.Timeout == 0 {
		return time.Duration(DefaultTaskTimeout)
	}
	return time.Duration(t.Timeout)
}

// String is the task in a line, which no other of the site has.
func (t Task) String() string { return t.At + " " + strings.Join(t.Exec, " ") }

// Next is the first of its times after one; zero: there is none.
func (t Task) Next(after time.Time) time.Time {
	next, err := gronx.NextTickAfter(t.At, after, false)
	if err != nil {
		return time.Time{}
	}
	return next
}

// DecodeScalar implements strictyaml.ScalarDecoder: a line of a crontab.
func (t *Task) DecodeScalar(s strictyaml.Scalar) error {
	if s.Kind != strictyaml.KindString {
		return strictyaml.Bad(taskAllowed, "%q is no such line", s.Text)
	}
	fields := cronFields
	rest := strings.TrimSpace(s.Text)
	if strings.HasPrefix(rest, "@") {
		fields = 1
	}
	var at []string
	for range fields {
		i := strings.IndexAny(rest, " \t")
		if i < 0 {
			return strictyaml.Bad(taskAllowed, "%q has no command behind its times", s.Text)
		}
		at, rest = append(at, rest[:i]), strings.TrimLeft(rest[i:], " \t")
	}
	*t = Task{At: strings.Join(at, " "), Exec: []string{"/bin/sh", "-c", rest}}
	return nil
}

// schedule checks what the site runs on time.
func (c checker) schedule(tasks []Task) {
	if len(tasks) > maxTasks {
		c.bad("schedule", fmt.Sprintf("up to %d", maxTasks), "has %d", len(tasks))
		return
	}
	for i, t := range tasks {
		at := fmt.Sprintf("schedule[%d]", i)
		if bad := badTimes(t.At); bad != "" {
			c.bad(at+".at", atAllowed, "%s", bad)
		}
		switch {
		case len(t.Exec) == 0, t.Exec[0] == "":
			c.bad(at+".exec", "the program to run, and its arguments", "is empty")
		case slices.ContainsFunc(tasks[:i], func(o Task) bool { return o.String() == t.String() }):
			c.bad(at, "", "stands in the list twice")
		}
		for j, arg := range t.Exec {
			c.text(fmt.Sprintf("%s.exec[%d]", at, j), arg)
		}
		c.between(at+".timeout", t.Timeout, minTaskTimeout, maxTaskTimeout)
	}
}

// badTimes says what is wrong with the times of a task; empty: nothing.
func badTimes(at string) string {
	fields := strings.Split(at, " ")
	switch {
	case slices.Contains(cronWords, at):
		return ""
	case strings.HasPrefix(at, "@"):
		hint := ""
		if guess := strictyaml.Suggest(at, cronWords); guess != "" {
			hint = "; did you mean " + guess + "?"
		}
		return fmt.Sprintf("%q is none of the words%s", at, hint)
	case len(fields) != cronFields:
		return fmt.Sprintf("%q has %d fields instead of %d", at, len(fields), cronFields)
	}
	for i, f := range fields {
		if !cronForm.MatchString(f) {
			return fmt.Sprintf("%q is no such field", f)
		}
		for _, step := range cronStep.FindAllStringSubmatch(f, -1) {
			if n, err := strconv.Atoi(step[1]); err != nil || n < 1 || n > cronMost[i] {
				return fmt.Sprintf("%q: a step is 1 to %d here", f, cronMost[i])
			}
		}
	}
	// Any time will do to find out whether it ever comes: one within a leap year's cycle.
	if _, err := gronx.NextTickAfter(at, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), false); err != nil {
		if gronx.IsValid(at) {
			return fmt.Sprintf("%q never comes", at)
		}
		return fmt.Sprintf("%q is no time: %v", at, err)
	}
	return ""
}
