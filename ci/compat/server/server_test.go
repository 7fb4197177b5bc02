package server

import (
	"context"
	"os"
	"testing"
)

func TestPairStartsAndLeavesNothing(t *testing.T) {
	pair, err := StartPair(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	pair.Stop()
	for _, s := range pair.Sides() {
		select {
		case <-s.Exited():
		default:
			t.Error("a stopped member still runs")
		}
		if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", s.Dir, err)
		}
	}
}
