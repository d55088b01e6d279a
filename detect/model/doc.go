// Package model is a site on paper: visitors arrive on a schedule, replicas share out
// their CPU limit among the requests they have, a new one takes its time to start. Rules
// (fcnode's own, and KnativeRule and AverageRule that it is compared with) decide for it, on the same arrivals and the same dice, and
// the model says what the visitors got. It stands for a real site as far as waiting is
// concerned, and for nothing else.
package model
