//go:build !race

package e2e_test

// raceEnabled says that this test binary was built with -race: the programs are then, too.
const raceEnabled = false
