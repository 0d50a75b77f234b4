//go:build race

package statistics_test

// raceEnabled says that this test binary was built with -race, with which all takes ten times as long.
const raceEnabled = true
