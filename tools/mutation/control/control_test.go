package control

import "testing"

func TestLarger(*testing.T) { Larger(1, 2) } // checks nothing, on purpose
