package sites

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/spec"
	"github.com/fcnode/fcnode/runtime/volume"
)

// checkVolumes finds volumes that no wake could mount. Everything is looked at
// again at each wake, by the process that mounts them. A source that is missing
// is told only: its disk may come later. In the folder of specs what a tenant
// could have put there is told only, too, as an error keeps back all its sites.
func (t *Table) checkVolumes(sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "volumes that cannot be used"}
	for i := range sites {
		s := &sites[i]
		for j, v := range s.Volumes {
			err := t.checkVolume(v)
			if err == nil {
				continue
			}
			mistake := errors.Is(err, volume.ErrOutside) || errors.Is(err, errOwnFolder)
			if errors.Is(err, fs.ErrNotExist) || source != "" && !mistake {
				t.host.Log.Warn("a site's volume cannot be used yet", "site", s.Name, "error", err)
				continue
			}
			d := api.Detail{Site: s.Name, Field: fmt.Sprintf("volumes[%d].source", j), Message: err.Error()}
			if errors.Is(err, volume.ErrOutside) {
				d.Allowed = "what lies below " + strings.Join(t.host.Cfg.VolumeRoots, ", ")
			}
			d.File, d.Line, d.Column = spec.Locate(source, s.Name, d.Field)
			bad.Details = append(bad.Details, d)
		}
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}

var errOwnFolder = errors.New("that is the node's own")

func (t *Table) checkVolume(v spec.Volume) error {
	for _, own := range []string{t.host.Cfg.StateDir, t.host.Cfg.RunDir} {
		if volume.Within(v.Source, own) || volume.Within(own, v.Source) {
			return fmt.Errorf("%s is, contains or lies in %s: %w", v.Source, own, errOwnFolder)
		}
	}
	f, err := volume.Open(t.host.Cfg.VolumeRoots, v.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	return volume.CheckKind(f, v.Dev)
}
