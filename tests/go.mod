module lavka/tests

go 1.26.0

require lavka/libs v0.0.0

replace lavka/libs => ../libs
