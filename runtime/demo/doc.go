// Package demo is the scenario of `fcnode demo`: a whole node and an outside
// client in namespaces of their own, and a site that wakes, sleeps and wakes.
// Everything it shows it shows by the fcnode program itself, as a user would
// call it.
package demo
