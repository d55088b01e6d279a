package netctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fcnode/fcnode/runtime/file"
)

// sysctlLog remembers the settings that Setup changed outside of fcnode's own
// devices, so that Remove can put them back, also when another daemon made
// the change. A change is written down before it is made.
type sysctlLog struct {
	path    string
	BootID  string   `json:"boot_id"`
	Uplinks []string `json:"uplinks,omitempty"` // that have the fast path's program
	Changes []change `json:"changes,omitempty"`
}

// change is one sysctl. Where Set equals Was the setting was only guarded
// against the side effect of another one.
type change struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Set  string `json:"set"`
}

// openSysctlLog reads what an earlier daemon of this boot has left. What is left
// of an earlier boot says nothing about this one. Beside a [DamagedRecordError]
// comes one that knows nothing.
func openSysctlLog(path string) (*sysctlLog, error) {
	boot, err := readSysctl("kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	fresh := &sysctlLog{path: path, BootID: boot}
	b, err := file.Read(path, file.Small)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	j := &sysctlLog{path: path}
	if err == nil {
		err = json.Unmarshal(b, j)
	}
	if err != nil {
		return fresh, &DamagedRecordError{Path: path, Err: err}
	}
	if j.BootID != boot {
		return fresh, nil
	}
	return j, nil
}

// before is readSysctl as if fcnode had not changed anything yet.
func (j *sysctlLog) before(name string) (string, error) {
	for _, c := range j.Changes {
		if c.Name == name {
			return c.Was, nil
		}
	}
	return readSysctl(name)
}

// opened says whether it was fcnode that switched a setting on.
func (j *sysctlLog) opened(name string) bool {
	return slices.ContainsFunc(j.Changes, func(c change) bool { return c.Name == name && c.Was == "0" })
}

// keepOnly puts back the changes that are not in the plan, which an earlier
// configuration has asked for.
func (j *sysctlLog) keepOnly(plan []setting) error {
	wanted := func(c change) bool {
		return slices.ContainsFunc(plan, func(s setting) bool { return s.name == c.Name })
	}
	return j.putBack(func(c change) bool { return !wanted(c) })
}

// set changes a setting unless it has the value already, and returns how to
// take that back.
func (j *sysctlLog) set(c sysctl, guard bool) (func() error, error) {
	was, err := readSysctl(c.name)
	if err != nil {
		return nil, err
	}
	if was == c.value && !guard {
		return func() error { return nil }, nil
	}
	known := slices.ContainsFunc(j.Changes, func(o change) bool { return o.Name == c.name })
	before := slices.Clone(j.Changes)
	if !known {
		j.Changes = append(j.Changes, change{Name: c.name, Was: was, Set: c.value})
		if err := j.save(); err != nil {
			j.Changes = before
			return nil, err
		}
	}
	undo := func() error {
		j.Changes = before
		return errors.Join(sysctl{c.name, was}.writeIfThere(), j.save())
	}
	if err := c.write(); err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
}

// putBack puts back the changes that are picked and still are as fcnode made
// them: what somebody has changed since is theirs. The last goes first.
func (j *sysctlLog) putBack(pick func(change) bool) error {
	var errs []error
	var left []change
	for _, c := range slices.Backward(j.Changes) {
		if !pick(c) {
			left = append(left, c)
			continue
		}
		now, err := readSysctl(c.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the device is gone
		}
		if err == nil && (now == c.Set || c.Set == c.Was) && now != c.Was {
			err = sysctl{c.Name, c.Was}.writeIfThere()
		}
		if err != nil {
			errs = append(errs, err)
			left = append(left, c)
		}
	}
	if len(left) == len(j.Changes) {
		return errors.Join(errs...)
	}
	slices.Reverse(left)
	j.Changes = left
	return errors.Join(append(errs, j.save())...)
}

// save replaces the file in one step; an empty log has none.
func (j *sysctlLog) save() error {
	if len(j.Changes) == 0 && len(j.Uplinks) == 0 {
		if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the record of changed settings: %w", err)
		}
		return nil
	}
	b, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding the record of changed settings: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(j.path), "."+strings.TrimSuffix(filepath.Base(j.path), ".json")+"-*")
	if err != nil {
		return fmt.Errorf("writing the record of changed settings: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the record of changed settings %s: %w", j.path, err), os.Remove(tmp.Name()))
	}
	return nil
}
