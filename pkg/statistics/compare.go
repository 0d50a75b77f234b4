package statistics

import "time"

// Comparison is two editions on one axis: the time since the start of each.
type Comparison struct {
	// Here is the edition in question, There the one that it is compared with.
	Here  Edition `json:"here"`
	There Edition `json:"there"`
	// Step is that of the points.
	Step   time.Duration     `json:"step"`
	Points []ComparisonPoint `json:"points"`
}

// Edition names an event that is compared.
type Edition struct {
	Name     string    `json:"name"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Currency string    `json:"currency,omitempty"`
}

// ComparisonPoint is one step of a Comparison.
type ComparisonPoint struct {
	// After is the time since the start at which the step begins.
	After time.Duration `json:"after"`
	// Viewers is the average, Messages the sum in the step; Written is the sum of messages since the
	// start, and Total the running total (corrected) in cents, both at the end of the step.
	Viewers  Pair `json:"viewers"`
	Messages Pair `json:"messages"`
	Written  Pair `json:"written"`
	Total    Pair `json:"total"`
}

// Pair is one number of both editions.
type Pair struct {
	Here  Measure `json:"here"`
	There Measure `json:"there"`
	// Ratio is Here by There; unknown where either is, and where There is 0.
	Ratio Measure `json:"ratio"`
}
