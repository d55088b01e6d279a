// Package sleep decides how deep a site may sleep, and when. The formulas and
// where they come from are in docs/detection.md.
package sleep
