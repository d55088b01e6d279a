package life

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/fcnode/fcnode/runtime/file"
)

// leaveForNext writes the names of sites to a file for the next daemon.
func leaveForNext(path string, names []string) error {
	b, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return file.Replace(path, b)
}

// leftByLast gives the sites that the last daemon has written to such a file, but for those that are deleted. A
// damaged file is moved aside; lost says what the node goes on without.
func leftByLast(h *Host, path, lost string) (sites []*Site) {
	b, err := file.Read(path, file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		h.MoveAside(h.Cfg.StateDir, path, "", err, lost)
		return nil
	}
	for _, name := range names {
		if st, err := h.Finder.ByName(name); err == nil {
			sites = append(sites, st)
		}
	}
	return sites
}
