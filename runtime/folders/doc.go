// Package folders owns the node's two folders on disk, stateDir and runDir: who may
// enter them, which one daemon works on them, and whether what lies in them is what
// has to be there. What is in the files is for those who write them.
package folders
