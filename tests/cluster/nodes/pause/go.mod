module lavka/tests/cluster/nodes/pause

go 1.26.4
