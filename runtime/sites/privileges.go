package sites

import (
	"github.com/fcnode/fcnode/runtime/api"
	"github.com/fcnode/fcnode/runtime/life"
	"github.com/fcnode/fcnode/runtime/spec"
)

// checkPrivileges refuses what the node's configuration allows to no site. Each
// start looks again.
func (t *Table) checkPrivileges(sites []spec.Site, source string) error {
	bad := &api.Error{Code: api.CodeInvalid, Message: "privileges that this node does not give"}
	for i := range sites {
		for _, e := range life.Excesses(t.host.Cfg, &sites[i]) {
			d := api.Detail{Site: sites[i].Name, Field: e.Field, Message: e.Err.Error(), Allowed: e.Allowed}
			d.File, d.Line, d.Column = spec.Locate(source, d.Site, d.Field)
			bad.Details = append(bad.Details, d)
		}
	}
	if len(bad.Details) > 0 {
		return bad
	}
	return nil
}
