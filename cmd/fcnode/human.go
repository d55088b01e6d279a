package main

import (
	"fmt"
	"strconv"
	"time"
)

// none stands for what is not known or not there.
const none = "-"

// age is a duration in one unit, rounded down: 4s, 12m, 3h, 9d.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// ago is the age of a moment.
func ago(now, t time.Time) string { return age(now.Sub(t)) + " ago" }

// latency is a short duration with two or three digits: 0.9ms, 38ms, 1.2s.
func latency(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.1fs", ms/1000)
	}
}

// millis is a duration of a trace: 171.2 ms.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB"}

// size is a number of bytes: 0 B, 38 MiB, 1.1 GiB.
func size(n int64) string {
	number, unit := scale(n)
	return number + " " + units[unit]
}

// sizes are two numbers of bytes, with one unit where they have the same:
// 1.1/2.0 GiB.
func sizes(a, b int64) string {
	na, ua := scale(a)
	nb, ub := scale(b)
	if ua == ub {
		return na + "/" + nb + " " + units[ub]
	}
	return na + " " + units[ua] + "/" + nb + " " + units[ub]
}

// scale gives numbers below ten one digit after the point, except whole bytes.
func scale(n int64) (number string, unit int) {
	f := float64(n)
	for f >= 1024 && unit < len(units)-1 {
		f /= 1024
		unit++
	}
	if unit == 0 || f >= 9.95 {
		return strconv.FormatFloat(f, 'f', 0, 64), unit
	}
	return strconv.FormatFloat(f, 'f', 1, 64), unit
}

// cores is a number of CPUs without needless digits: 4, 2.1, 0.25.
func cores(n float64) string {
	return strconv.FormatFloat(float64(int64(n*100+0.5))/100, 'f', -1, 64)
}

// usedCores is a measured number of CPUs: 2.1.
func usedCores(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) }

// plural is "1 site", "2 sites".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
