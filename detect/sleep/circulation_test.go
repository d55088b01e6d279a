package sleep

import (
	"testing"
	"time"
)

// TestCirculation: a site is circulated in the last quarter of its time: in a sleep that is expected to last, else in the quietest hour of
// the last day, else at the end.
func TestCirculation(t *testing.T) {
	const week = 7 * day
	var hours [24]uint64
	for h := range hours {
		hours[h] = uint64(100 + h)
	}
	hours[3], hours[4] = 2, 7
	for _, c := range []struct {
		name string
		of   Circulation
		want time.Duration
		at   CirculationMoment
	}{
		{"young and asleep", Circulation{Age: day, Within: week, Asleep: true, Comes: day}, week*3/4 - day, CirculateYoung},
		{"asleep for long", Circulation{Age: 6 * day, Within: week, Asleep: true, Comes: time.Hour, Start: time.Second}, 0, CirculateAsleep},
		{"asleep for a moment", Circulation{Age: 6 * day, Within: week, Asleep: true, Comes: 10 * time.Second, Start: time.Second}, day, CirculateBound},
		{"awake, in the last quarter", Circulation{Age: week - day - 5*time.Hour, Within: week, Hours: &hours}, 27 * time.Hour, CirculateQuiet},
		{"awake, its quiet hour is to come", Circulation{Age: week - 20*time.Hour, Within: week, Hours: &hours, Clock: 20*time.Hour + 30*time.Minute}, 6*time.Hour + 30*time.Minute, CirculateQuiet},
		{"awake, in its quiet hour", Circulation{Age: week - 20*time.Hour, Within: week, Hours: &hours, Clock: 3*time.Hour + 10*time.Minute}, 0, CirculateQuiet},
		{"awake, the quiet hour is after the end", Circulation{Age: week - time.Hour/2, Within: week, Hours: &hours, Clock: time.Hour}, 0, CirculateQuiet},
		{"awake, a little is quieter than now", Circulation{Age: week - 2*time.Hour, Within: week, Hours: &hours, Clock: 23*time.Hour + 40*time.Minute}, 20 * time.Minute, CirculateQuiet},
		{"awake, nothing is known", Circulation{Age: 6 * day, Within: week}, day, CirculateBound},
		{"a few hours", Circulation{Age: 2 * time.Hour, Within: 4 * time.Hour, Hours: &hours, Clock: 2*time.Hour + 30*time.Minute}, time.Hour, CirculateYoung},
		{"a few hours, at the last", Circulation{Age: 3*time.Hour + 10*time.Minute, Within: 4 * time.Hour, Hours: &hours, Clock: 2*time.Hour + 30*time.Minute}, 30 * time.Minute, CirculateQuiet},
		{"too old", Circulation{Age: 8 * day, Within: week, Hours: &hours}, 0, CirculateBound},
		{"too old and asleep for a moment", Circulation{Age: 8 * day, Within: week, Asleep: true, Start: time.Second}, 0, CirculateBound},
	} {
		after, at := c.of.Due()
		if after != c.want || at != c.at {
			t.Errorf("%s: after %s (%d), want %s (%d)", c.name, after, at, c.want, c.at)
		}
	}
}

// TestCirculationKeepsItsBound: whatever a site does, looked at every minute, it is circulated before its processes are older than they may
// be; and one that never sleeps in its quiet hour.
func TestCirculationKeepsItsBound(t *testing.T) {
	var hours [24]uint64
	for h := range hours {
		hours[h] = uint64(10 + (h+20)%24) // the quietest is 04:00
	}
	for _, within := range []time.Duration{time.Hour, 5 * time.Hour, day, 3 * day, 10 * day} {
		for _, nap := range []time.Duration{0, 7 * time.Minute, 9 * time.Hour} {
			for age := time.Duration(0); ; age += time.Minute {
				r := Circulation{Age: age, Within: within, Hours: &hours, Clock: age % day, Start: time.Second, Asleep: nap > 0 && age%(2*nap) < nap, Comes: nap}
				after, at := r.Due()
				if after > 0 {
					if age >= within {
						t.Fatalf("%s old, and it may be %s", age, within)
					}
					continue
				}
				if at == CirculateQuiet && within >= 4*day && r.Clock/time.Hour != 4 {
					t.Errorf("circulated at %s, within %s", r.Clock, within)
				}
				if nap == 9*time.Hour && within >= 3*day && at != CirculateAsleep {
					t.Errorf("it sleeps for hours and was circulated awake (%d), within %s", at, within)
				}
				break
			}
		}
	}
}
