package record_test

import (
	"testing"

	"github.com/tungstene/tungstene/pkg/record"
)

func TestCounted(t *testing.T) {
	t.Parallel()
	counted := map[record.Kind]bool{
		record.KindMessage: true, record.KindNotice: true, record.KindModeration: true, record.KindViewers: true,
		record.KindCoverage: true, record.KindRoomState: false, record.KindSession: false, record.KindChange: false,
		record.KindDropped: false, record.KindDonation: true, record.KindAmount: true, record.KindAnswer: false,
	}
	for _, kind := range append(kinds, "raffle", "") {
		want, known := counted[kind]
		if kind != "raffle" && kind != "" && !known {
			t.Errorf("no word on %q", kind)
		}
		if got := kind.Counted(); got != want {
			t.Errorf("%q counted: %v, want %v", kind, got, want)
		}
	}
}
