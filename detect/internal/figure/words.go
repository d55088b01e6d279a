package figure

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Binary multiples of a byte.
const (
	MiB = 1 << 20
	GiB = 1 << 30
)

// Duration is a duration as people say it.
func Duration(d time.Duration) string {
	switch {
	case d == math.MaxInt64:
		return "never"
	case d < time.Millisecond:
		return fmt.Sprintf("%.2g ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.2g s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

// Bytes is a number of bytes as people say it.
func Bytes(bytes float64) string {
	switch {
	case bytes < MiB:
		return fmt.Sprintf("%.0f KiB", bytes/1024)
	case bytes < GiB:
		return fmt.Sprintf("%.3g MiB", bytes/MiB)
	}
	return fmt.Sprintf("%.3g GiB", bytes/GiB)
}

// Number is a number with three digits and no exponent.
func Number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
