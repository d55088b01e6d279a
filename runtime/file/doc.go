// Package file reads small files that fcnode wrote itself, though they may have
// been damaged since, and moves damaged ones out of the way.
//
// A daemon must start whatever lies in its folders. A plain os.ReadFile waits
// for ever at a FIFO, follows a symbolic link anywhere, and takes as much
// memory as a sparse file claims to be long.
package file
