package netctl

import (
	"fmt"
	"slices"
)

// setting is one sysctl that a plan wants. own ones belong to a device of
// fcnode and vanish with it; guarded ones are written down even if they have
// the value already, as another setting of the plan would change them.
type setting struct {
	sysctl
	own, guarded bool
}

// forwardingPlan lists the settings that let the stack pass packets between the
// uplinks and the device: for IPv4 per device, for IPv6 per device from Linux
// 6.17 on (force_forwarding).
//
// Before, IPv6 has one switch for the whole machine, which moreover stops the
// devices from listening to router advertisements and drops the default routes
// learned from them, unless accept_ra is 2. So the plan says 2 where there was
// 1 first. It is only made for a node with uplinks. The switch also overwrites
// the (then idle) switch of every device, so these are noted.
func forwardingPlan(cfg Config, devices []string, read func(string) (string, error)) ([]setting, error) {
	var plan []setting
	plan = append(plan, setting{sysctl: sysctl{conf4(cfg.Device, "forwarding"), "1"}, own: true})
	for _, u := range cfg.Uplinks {
		plan = append(plan, setting{sysctl: sysctl{conf4(u, "forwarding"), "1"}})
	}
	if !cfg.has6() {
		return plan, nil
	}
	all, err := read(conf6("all", "forwarding"))
	if err != nil {
		return nil, fmt.Errorf("is IPv6 forwarded: %w", err)
	}
	if all != "0" {
		return plan, nil
	}
	if _, err := read(conf6(cfg.Device, "force_forwarding")); err == nil {
		plan = append(plan, setting{sysctl: sysctl{conf6(cfg.Device, "force_forwarding"), "1"}, own: true})
		for _, u := range cfg.Uplinks {
			plan = append(plan, setting{sysctl: sysctl{conf6(u, "force_forwarding"), "1"}})
		}
		return plan, nil
	}
	if len(cfg.Uplinks) == 0 {
		return plan, nil
	}
	others := slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return d == cfg.Device })
	return append(plan, machineForwarding6(others, read)...), nil
}

func machineForwarding6(devices []string, read func(string) (string, error)) (plan []setting) {
	for _, d := range append([]string{"default"}, devices...) {
		if v, err := read(conf6(d, "forwarding")); err == nil && v != "0" {
			plan = append(plan, setting{sysctl: sysctl{conf6(d, "forwarding"), v}, guarded: true})
		}
	}
	for _, d := range devices {
		if v, err := read(conf6(d, "accept_ra")); err == nil && v == "1" {
			plan = append(plan, setting{sysctl: sysctl{conf6(d, "accept_ra"), "2"}})
		}
	}
	return append(plan, setting{sysctl: sysctl{conf6("all", "forwarding"), "1"}})
}

// apply makes the plan's changes.
func (j *sysctlLog) apply(plan []setting, undo *undoList) error {
	for _, s := range plan {
		if s.own {
			if err := s.write(); err != nil {
				return err
			}
			continue
		}
		back, err := j.set(s.sysctl, s.guarded)
		if err != nil {
			return err
		}
		undo.add(back)
	}
	return nil
}
