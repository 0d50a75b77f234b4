package master

import "context"

// ParseLogins is for tests of the lists' formats.
var ParseLogins = parseLogins

// Excluded is whom collectors are told to leave out.
func (m *Master) Excluded(ctx context.Context, event string) ([]string, error) {
	return m.excluded(ctx, event)
}
