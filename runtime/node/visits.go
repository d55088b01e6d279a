package node

// How many visitors a site has, and how many of them find it asleep, steers its idle
// times when its spec has an objective for that. Visitors are connections here: they are
// what the kernel sees of every protocol. Who sends several requests on one counts once, so
// that a site sleeps a little later than it might.
