// Package priority owns the order in which work gets the machine: slots for
// starts, precedence of wakes over background work, and real-time threads with
// an allowance. It knows no site.
package priority
