package life

import "testing"

func TestConnectionsAreCountedOnce(t *testing.T) {
	e := &Live{Activity: &Activity{Spec: parseLife(t, "objective: {cold: 1%}")}}
	a, b := &Replica{}, &Replica{}
	e.came(a, 5)
	e.came(a, 5)
	e.came(b, 7)
	e.came(a, 8)
	if got := e.past().came; got != 15 {
		t.Errorf("%d connections, 15 came", got)
	}
	quiet := &Live{Activity: &Activity{Spec: parseLife(t, "idle: 1m")}}
	if quiet.came(a, 100); quiet.History != nil {
		t.Error("memory is spent on a site without an objective")
	}
}
