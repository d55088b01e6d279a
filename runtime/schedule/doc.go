// Package schedule has the commands run on time that sites ask for by their specs.
// It knows no live site: whoever owns the sites gives each with the means to run a
// command in it.
package schedule
