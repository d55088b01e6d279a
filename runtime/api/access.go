package api

import (
	"context"
	"fmt"
	"net/http"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Role is what a caller may do: each includes those before it.
type Role int

// The roles.
const (
	RoleNone    Role = iota // asks whether the daemon lives
	RoleRead                // sees sites, events, metrics
	RoleOperate             // wakes, parks and circulates them, reads what they print, denies sources
	RoleAdmin               // applies and deletes them, and gets inside: as good as root
)

var roleNames = [...]string{"none", "read", "operate", "admin"}

func (r Role) String() string { return roleNames[r] }

// Access says which groups have which role. Root is always an admin.
type Access struct {
	Read, Operate, Admin []string
	// Lookup gives the number of a group; a group that does not exist has no members.
	Lookup func(name string) (gid uint32, ok bool)
}

// open says that nobody has been given a role in particular: whoever may connect has
// them all.
func (a Access) open() bool { return len(a.Read)+len(a.Operate)+len(a.Admin) == 0 }

// role of a peer, the highest that one of its groups has. Groups are looked up at each
// call, so that one that is made later counts.
func (a Access) role(p *peer) Role {
	switch {
	case a.open():
		return RoleAdmin
	case p == nil:
		return RoleNone
	case p.Uid == 0:
		return RoleAdmin
	}
	lookup := a.Lookup
	if lookup == nil {
		lookup = groupNumber
	}
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			gid, ok := lookup(name)
			return ok && (gid == p.Gid || slices.Contains(p.groups, gid))
		})
	}
	switch {
	case has(a.Admin):
		return RoleAdmin
	case has(a.Operate):
		return RoleOperate
	case has(a.Read):
		return RoleRead
	}
	return RoleNone
}

func groupNumber(name string) (uint32, bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(gid), err == nil
}

// Restrict has the server answer each caller what its role allows. It is called before
// Serve.
func (s *Server) Restrict(a Access) { s.access = a }

// least are the calls, each with the least role that may make it. One that is not here
// cannot be registered.
var least = map[string]Role{
	"GET /healthz":                       RoleNone,
	"GET /metrics":                       RoleRead,
	"GET /v1/state":                      RoleAdmin,
	"GET /v1/info":                       RoleRead,
	"GET /v1/sites":                      RoleRead,
	"POST /v1/sites":                     RoleAdmin,
	"GET /v1/sites/{site}":               RoleRead,
	"DELETE /v1/sites/{site}":            RoleAdmin,
	"GET /v1/sites/{site}/file":          RoleAdmin,
	"PUT /v1/sites/{site}/file":          RoleAdmin,
	"POST /v1/sites/{site}/rollback":     RoleAdmin,
	"POST /v1/images":                    RoleAdmin,
	"GET /v1/images":                     RoleRead,
	"GET /v1/images/{digest}":            RoleRead,
	"DELETE /v1/images/{digest}":         RoleAdmin,
	"POST /v1/images/prune":              RoleAdmin,
	"POST /v1/sites/{site}/wake":         RoleOperate,
	"POST /v1/sites/{site}/park":         RoleOperate,
	"POST /v1/sites/{site}/circulate":    RoleOperate,
	"POST /v1/reload":                    RoleAdmin,
	"GET /v1/volumes":                    RoleRead,
	"GET /v1/volumes/{site}/{volume}":    RoleRead,
	"DELETE /v1/volumes/{site}/{volume}": RoleAdmin,
	"GET /v1/sites/{site}/check":         RoleRead,
	"GET /v1/sites/{site}/traces":        RoleRead,
	"GET /v1/sites/{site}/why":           RoleRead,
	"GET /v1/sites/{site}/logs":          RoleOperate,
	"POST /v1/sites/{site}/exec":         RoleAdmin,
	"GET /v1/denied":                     RoleRead,
	"POST /v1/denied":                    RoleOperate,
	"DELETE /v1/denied":                  RoleOperate,
	"GET /v1/arrivals":                   RoleRead,
	"GET /v1/events":                     RoleRead,
	"GET /v1/routes":                     RoleRead,
	"/":                                  RoleNone,

	"PUT /v1/volumes/{site}/{volume}/snapshots/{snapshot}":          RoleAdmin,
	"POST /v1/volumes/{site}/{volume}/snapshots/{snapshot}/restore": RoleAdmin,
	"DELETE /v1/volumes/{site}/{volume}/snapshots/{snapshot}":       RoleAdmin,
	"GET /v1/volumes/{site}/{volume}/backup":                        RoleAdmin,
	"PUT /v1/volumes/{site}/{volume}/backup":                        RoleAdmin,
	"GET /v1/volumes/{site}/{volume}/tar":                           RoleAdmin,
	"PUT /v1/volumes/{site}/{volume}/tar":                           RoleAdmin,
	"GET /v1/sites/{site}/tar":                                      RoleAdmin,
	"PUT /v1/sites/{site}/tar":                                      RoleAdmin,
	"POST /v1/sites/{site}/forward":                                 RoleAdmin,
}

// allowed lets through who has the role that the call takes.
func (s *Server) allowed(pattern string, call http.Handler) http.Handler {
	needed, ok := least[pattern]
	if !ok {
		panic("nobody has said who may call " + pattern)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := peerOf(r.Context())
		if has := s.access.role(p); has < needed {
			s.log.Warn("an API call was forbidden", "method", r.Method, "path", r.URL.Path, peerAttr(r.Context()), "role", has.String(), "needed", needed.String())
			s.fail(w, r, &Error{
				Code: CodeForbidden, Message: fmt.Sprintf("this takes the role %s, and %s has the role %s", needed, p, has),
				Hint: s.access.hint(needed),
			})
			return
		}
		call.ServeHTTP(w, r)
	})
}

// hint says whom a role is given to.
func (a Access) hint(needed Role) string {
	groups := [...][]string{RoleRead: a.Read, RoleOperate: a.Operate, RoleAdmin: a.Admin}
	var names []string
	for _, have := range groups[needed:] {
		names = append(names, have...)
	}
	if len(names) == 0 {
		return "only root has it (access in the daemon's configuration)"
	}
	return "root has it, and members of " + strings.Join(names, ", ") + " (access in the daemon's configuration); who has just become one logs in anew"
}

// peer is who is at the other end of a connection, as it was when he connected.
type peer struct {
	unix.Ucred
	groups []uint32
}

func (p *peer) String() string {
	if p == nil {
		return "the caller, who is not known,"
	}
	if u, err := user.LookupId(strconv.Itoa(int(p.Uid))); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("user %d", p.Uid)
}

func peerOf(ctx context.Context) *peer {
	p, _ := ctx.Value(peerKey{}).(*peer)
	return p
}

// peerGroups gives the supplementary groups of a socket's peer (SO_PEERGROUPS, Linux 4.13).
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * uint32(unsafe.Sizeof(groups[0]))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		n := size / uint32(unsafe.Sizeof(groups[0]))
		switch {
		case errno == 0:
			return groups[:n], nil
		case errno != unix.ERANGE || int(n) <= len(groups):
			return nil, errno
		}
		groups = make([]uint32, n)
	}
}
