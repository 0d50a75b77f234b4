//go:build !race

package statistics_test

const raceEnabled = false
