package sites

import (
	"fmt"

	"github.com/fcnode/fcnode/runtime/api"
)

func created(changes []change) (count int) {
	for _, c := range changes {
		if c.action == api.ActionCreated {
			count++
		}
	}
	return count
}

func NotFound(name string) error {
	return &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("site %q: not found", name),
		Hint: "fcnode list shows the sites of this node",
	}
}
