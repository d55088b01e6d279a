package node

// A spec is written for any node, so what this one cannot do of it refuses nothing: the site gets the next best. Whoever
// applies it is told, as nothing else would until the day on which it is missed.
