package node

// A site that has too little has it most often when the whole machine has: then a thread of
// the daemon waits for its turn as long as all others, some milliseconds each time, and so
// does each goroutine that is handed something by another. What the kernel tells is
// therefore read by threads that the kernel runs before others, and they look at the site
// themselves: from the event to the write nobody else has to get a turn.
