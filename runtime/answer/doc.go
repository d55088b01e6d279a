// Package answer answers in the place of sites that sleep: sources that are ignored
// (uptime monitors, bots) get from the node itself what the site's spec or the
// configuration says. All that they can cost is bounded, as they are strangers.
package answer
