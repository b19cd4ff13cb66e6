module lavka/tests/cluster

go 1.26.4

require lavka/libs v0.0.0

replace lavka/libs => ../../libs
