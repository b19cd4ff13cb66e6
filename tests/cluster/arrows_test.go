package main

import "testing"

func TestTheTableOfArrowsIsRead(t *testing.T) {
	t.Parallel()
	table, err := arrowsOf("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(table) < 20 || !table[arrow{"billing-verify", "postgres", 5432}] || table[arrow{"billing-verify", "nats", 4222}] {
		t.Errorf("it has %d arrows: %v", len(table), table)
	}
}
