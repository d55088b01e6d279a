// Package figure has what every decision does with its numbers: it keeps estimates
// that went wrong from becoming decisions, and says them in words.
package figure
