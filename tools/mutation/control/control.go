// Package control is what the mutation tester is tried on before each run: no test
// checks [Larger], so a tester that works reports that changes to it live.
package control

// Larger returns the larger number.
func Larger(a, b int) int {
	if a > b {
		return a
	}
	return b
}
