package priority

import (
	"context"
	"errors"
	"testing"
)

func TestSlotsFull(t *testing.T) {
	q := NewSlots(1)
	if q.Full() {
		t.Error("nobody starts, and there is no turn left")
	}
	leave, err := q.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !q.Full() {
		t.Error("there is one turn, it is taken, and there is another one")
	}
	leave()
}

func TestSlotsAreTakenInTurn(t *testing.T) {
	q := NewSlots(2)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := q.Enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second, err := q.Enter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan func())
	go func() {
		leave, err := q.Enter(ctx)
		if err != nil {
			t.Error(err)
		}
		came <- leave
	}()
	first()
	first() // twice is fine, and frees one turn only
	third := <-came
	cancel()
	if _, err := q.Enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with two under way a third got a slot: %v", err)
	}
	second()
	third()
}
