package disk

// Use is what files take, or may take: as a limit, 0 is none.
type Use struct {
	Bytes  uint64
	Inodes uint64
}

// Over says whether more is in use than a limit allows.
func (u Use) Over(most Use) bool {
	return most.Bytes > 0 && u.Bytes > most.Bytes || most.Inodes > 0 && u.Inodes > most.Inodes
}

// Share is the part of a limit that is in use, of bytes or of inodes, whichever
// is more; 1 is all of it.
func (u Use) Share(most Use) (share float64) {
	if most.Bytes > 0 {
		share = float64(u.Bytes) / float64(most.Bytes)
	}
	if most.Inodes > 0 {
		share = max(share, float64(u.Inodes)/float64(most.Inodes))
	}
	return share
}

// Add gives the use of both.
func (u Use) Add(other Use) Use {
	return Use{Bytes: u.Bytes + other.Bytes, Inodes: u.Inodes + other.Inodes}
}
