package master_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/tungstene/tungstene/pkg/master"
)

func drawChannels(t *rapid.T, most int) []master.Channel {
	n := rapid.IntRange(0, most).Draw(t, "channels")
	list := make([]master.Channel, n)
	for i := range list {
		list[i] = master.Channel{
			ID:       strconv.Itoa(1000 + i),
			Weight:   rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 3), rapid.Float64Range(0, 200)).Draw(t, "weight"),
			Replicas: rapid.IntRange(1, 2).Draw(t, "replicas"),
		}
	}
	return list
}

func drawCollectors(t *rapid.T, least, capacity int) []master.Collector {
	n := rapid.IntRange(least, 8).Draw(t, "collectors")
	list := make([]master.Collector, n)
	for i := range list {
		list[i] = master.Collector{
			Name: fmt.Sprint("c", i), Node: rapid.SampledFrom([]string{"", "n1", "n2", "n3"}).Draw(t, "node"),
			Capacity: rapid.IntRange(0, capacity).Draw(t, "capacity"),
		}
	}
	return list
}

// check holds the invariants of every assignment.
func check(t interface{ Fatalf(string, ...any) }, channels []master.Channel, collectors []master.Collector, next master.Assignment, unassigned []string) {
	by := map[string]master.Collector{}
	room := 0
	for _, c := range collectors {
		by[c.Name] = c
		room += c.Capacity
	}
	count := map[string]int{}
	assigned := 0
	for _, ch := range channels {
		on := next[ch.ID]
		missing := slices.Contains(unassigned, ch.ID)
		if (len(on) == 0) != missing {
			t.Fatalf("channel %s is on %v, unassigned: %v", ch.ID, on, missing)
		}
		if len(on) > 0 {
			assigned++
		}
		if len(on) > ch.Replicas {
			t.Fatalf("channel %s on %v, wants %d", ch.ID, on, ch.Replicas)
		}
		if !slices.IsSorted(on) || len(slices.Compact(slices.Clone(on))) != len(on) {
			t.Fatalf("channel %s on %v", ch.ID, on)
		}
		for _, name := range on {
			if _, ok := by[name]; !ok {
				t.Fatalf("channel %s on %s, who is not there", ch.ID, name)
			}
			count[name]++
		}
	}
	if assigned != min(len(channels), room) {
		t.Fatalf("%d channels assigned of %d, room for %d", assigned, len(channels), room)
	}
	if len(next) != assigned {
		t.Fatalf("assignment holds %d channels, %d are wanted", len(next), assigned)
	}
	free := func(except []string, node func(string) bool) string {
		for _, c := range collectors {
			if count[c.Name] < c.Capacity && !slices.Contains(except, c.Name) && node(nodeOf(c)) {
				return c.Name
			}
		}
		return ""
	}
	for name, n := range count {
		if n > by[name].Capacity {
			t.Fatalf("%s has %d channels, capacity %d", name, n, by[name].Capacity)
		}
	}
	for _, ch := range channels {
		on := next[ch.ID]
		if len(on) < ch.Replicas {
			if c := free(on, func(string) bool { return true }); c != "" {
				t.Fatalf("channel %s on %v lacks a replica while %s has room", ch.ID, on, c)
			}
		}
		if len(on) == 2 && nodeOf(by[on[0]]) == nodeOf(by[on[1]]) {
			shared := nodeOf(by[on[0]])
			if c := free(on, func(n string) bool { return n != shared }); c != "" {
				t.Fatalf("channel %s on %v, both on %s, while %s has room", ch.ID, on, shared, c)
			}
		}
	}
}

func nodeOf(c master.Collector) string {
	if c.Node == "" {
		return "alone:" + c.Name
	}
	return c.Node
}

// moves counts the places that a channel has in next and had not in prev, although its old
// collector is still there.
func moves(prev, next master.Assignment, collectors []master.Collector) (n int, to map[string]int) {
	there := map[string]bool{}
	for _, c := range collectors {
		there[c.Name] = true
	}
	to = map[string]int{}
	for id, on := range next {
		for _, name := range prev[id] {
			if there[name] && !slices.Contains(on, name) {
				n++
			}
		}
		for _, name := range on {
			if !slices.Contains(prev[id], name) {
				to[name]++
			}
		}
	}
	return n, to
}

func TestAssignInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		channels, collectors := drawChannels(t, 60), drawCollectors(t, 0, 40)
		prev := master.Assignment{}
		for _, ch := range channels {
			// Anything may stand in a previous assignment, also collectors and channels that are gone.
			prev[ch.ID] = rapid.SliceOfN(rapid.SampledFrom([]string{"c0", "c1", "c2", "c3", "gone"}), 0, 4).Draw(t, "prev")
		}
		prev["9"] = []string{"c0"}
		next, unassigned := master.Assign(channels, collectors, prev)
		check(t, channels, collectors, next, unassigned)

		again, unassigned2 := master.Assign(channels, collectors, next)
		if !reflect.DeepEqual(next, again) || !slices.Equal(unassigned, unassigned2) {
			t.Fatalf("the same input again moved something: %v, then %v", next, again)
		}

		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		rng.Shuffle(len(channels), func(i, j int) { channels[i], channels[j] = channels[j], channels[i] })
		rng.Shuffle(len(collectors), func(i, j int) { collectors[i], collectors[j] = collectors[j], collectors[i] })
		for _, on := range prev {
			rng.Shuffle(len(on), func(i, j int) { on[i], on[j] = on[j], on[i] })
		}
		shuffled, _ := master.Assign(channels, collectors, prev)
		if !reflect.DeepEqual(next, shuffled) {
			t.Fatalf("another order of the input gave %v, not %v", shuffled, next)
		}
	})
}

// With room to spare, no collector is further above the mean than maxSkew and one channel.
func TestAssignBalances(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		channels, collectors := drawChannels(t, 200), drawCollectors(t, 1, 1)
		for i := range collectors {
			collectors[i].Capacity, collectors[i].Node = 1000, ""
		}
		next, _ := master.Assign(channels, collectors, nil)
		load, heaviest, sum := map[string]float64{}, 0.0, 0.0
		for _, ch := range channels {
			for _, name := range next[ch.ID] {
				load[name] += ch.Weight + 1
				sum += ch.Weight + 1
			}
			heaviest = max(heaviest, ch.Weight+1)
		}
		mean := sum / float64(len(collectors))
		for name, l := range load {
			if l > max(mean*1.1, mean+heaviest)+0.01 {
				t.Fatalf("%s has %.1f, mean %.1f, heaviest channel %.1f", name, l, mean, heaviest)
			}
		}
	})
}

func TestAssignMovesLittle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "channels")
		k := rapid.IntRange(1, 8).Draw(t, "collectors")
		var channels []master.Channel
		for i := range n {
			channels = append(channels, master.Channel{ID: strconv.Itoa(i), Weight: 1, Replicas: 1})
		}
		var collectors []master.Collector
		for i := range k {
			collectors = append(collectors, master.Collector{Name: fmt.Sprint("c", i), Node: fmt.Sprint("n", i%3), Capacity: 300})
		}
		prev, _ := master.Assign(channels, collectors, nil)

		more := append(slices.Clone(collectors), master.Collector{Name: "new", Node: "n9", Capacity: 300})
		next, _ := master.Assign(channels, more, prev)
		moved, to := moves(prev, next, more)
		if moved != to["new"] || moved > n/(k+1)+1 {
			t.Fatalf("a new collector got %d of %d, %d moved", to["new"], n, moved)
		}

		if k == 1 {
			return
		}
		gone := rapid.IntRange(0, k-1).Draw(t, "gone")
		fewer := slices.Delete(slices.Clone(collectors), gone, gone+1)
		next, _ = master.Assign(channels, fewer, prev)
		if moved, _ := moves(prev, next, fewer); moved != 0 {
			t.Fatalf("%d channels moved that had not lost their collector", moved)
		}
	})
}

// Whatever the weights, what moves for a new collector weighs no more than twice its share and the
// heaviest channel.
func TestAssignMovesLittleWithWeights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		channels := drawChannels(t, 150)
		for i := range channels {
			channels[i].Replicas = 1
		}
		var collectors []master.Collector
		for i := range rapid.IntRange(1, 6).Draw(t, "collectors") {
			collectors = append(collectors, master.Collector{Name: fmt.Sprint("c", i), Capacity: 400})
		}
		prev, _ := master.Assign(channels, collectors, nil)
		more := append(slices.Clone(collectors), master.Collector{Name: "new", Capacity: 400})
		next, _ := master.Assign(channels, more, prev)
		moved, sum, heaviest := 0.0, 0.0, 0.0
		for _, ch := range channels {
			sum += ch.Weight + 1
			heaviest = max(heaviest, ch.Weight+1)
			if !slices.Equal(prev[ch.ID], next[ch.ID]) {
				moved += ch.Weight + 1
			}
		}
		if share := sum / float64(len(more)); moved > 2*share+heaviest {
			t.Fatalf("%.1f moved for a share of %.1f, heaviest channel %.1f", moved, share, heaviest)
		}
	})
}

func TestAssignByHand(t *testing.T) {
	t.Parallel()
	ch := func(id string, w float64, r int) master.Channel {
		return master.Channel{ID: id, Weight: w, Replicas: r}
	}
	for _, tc := range []struct {
		name       string
		channels   []master.Channel
		collectors []master.Collector
		prev, want master.Assignment
		unassigned []string
	}{
		{
			name: "no collectors", channels: []master.Channel{ch("2", 1, 1), ch("1", 5, 2)},
			want: master.Assignment{}, unassigned: []string{"1", "2"},
		},
		{
			name: "silent channels spread too", channels: []master.Channel{ch("1", 0, 1), ch("2", 0, 1)},
			collectors: []master.Collector{{Name: "a", Capacity: 9}, {Name: "b", Capacity: 9}},
			want:       master.Assignment{"1": {"a"}, "2": {"b"}},
		},
		{
			name: "replicas on different nodes", channels: []master.Channel{ch("1", 0, 2)},
			collectors: []master.Collector{{Name: "a", Node: "n1", Capacity: 9}, {Name: "b", Node: "n1", Capacity: 9}, {Name: "c", Node: "n2", Capacity: 9}},
			want:       master.Assignment{"1": {"a", "c"}},
		},
		{
			name: "one node only", channels: []master.Channel{ch("1", 0, 2)},
			collectors: []master.Collector{{Name: "a", Node: "n1", Capacity: 9}, {Name: "b", Node: "n1", Capacity: 9}},
			want:       master.Assignment{"1": {"a", "b"}},
		},
		{
			name: "never twice on the same collector", channels: []master.Channel{ch("1", 0, 2)},
			collectors: []master.Collector{{Name: "a", Capacity: 9}},
			want:       master.Assignment{"1": {"a"}},
		},
		{
			name: "a node comes back", channels: []master.Channel{ch("1", 0, 2)},
			collectors: []master.Collector{{Name: "a", Node: "n1", Capacity: 9}, {Name: "b", Node: "n1", Capacity: 9}, {Name: "c", Node: "n2", Capacity: 9}},
			prev:       master.Assignment{"1": {"a", "b"}},
			want:       master.Assignment{"1": {"a", "c"}},
		},
		{
			name: "a replica yields to a channel that nobody reads", channels: []master.Channel{ch("1", 0, 2), ch("2", 0, 1)},
			collectors: []master.Collector{{Name: "a", Capacity: 1}, {Name: "b", Capacity: 1}},
			prev:       master.Assignment{"1": {"a", "b"}},
			want:       master.Assignment{"1": {"a"}, "2": {"b"}},
		},
		{
			name: "over capacity", channels: []master.Channel{ch("1", 3, 1), ch("2", 1, 1), ch("3", 2, 1)},
			collectors: []master.Collector{{Name: "a", Capacity: 2}},
			want:       master.Assignment{"1": {"a"}, "3": {"a"}}, unassigned: []string{"2"},
		},
		{
			name: "stays within the skew", channels: []master.Channel{ch("1", 9, 1), ch("2", 8, 1), ch("3", 0, 1)},
			collectors: []master.Collector{{Name: "a", Capacity: 9}, {Name: "b", Capacity: 9}},
			prev:       master.Assignment{"1": {"a"}, "2": {"b"}, "3": {"a"}},
			want:       master.Assignment{"1": {"a"}, "2": {"b"}, "3": {"a"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, unassigned := master.Assign(tc.channels, tc.collectors, tc.prev)
			check(t, tc.channels, tc.collectors, got, unassigned)
			if !reflect.DeepEqual(got, tc.want) || !slices.Equal(unassigned, tc.unassigned) {
				t.Errorf("got %v, unassigned %v; want %v, %v", got, unassigned, tc.want, tc.unassigned)
			}
		})
	}
}

func benchmarkAssign(b *testing.B, channels, collectors int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var chs []master.Channel
	for i := range channels {
		w := rng.ExpFloat64()
		chs = append(chs, master.Channel{ID: strconv.Itoa(i), Weight: w * w * w, Replicas: 2})
	}
	var cols []master.Collector
	for i := range collectors {
		cols = append(cols, master.Collector{Name: fmt.Sprint("c", i), Node: fmt.Sprint("n", i%3), Capacity: 3 * channels / collectors})
	}
	prev, _ := master.Assign(chs, cols, nil)
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			master.Assign(chs, cols, nil)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			master.Assign(chs, cols, prev)
		}
	})
	b.Run("one-gone", func(b *testing.B) {
		for b.Loop() {
			master.Assign(chs, cols[1:], prev)
		}
	})
	b.Run("one-more", func(b *testing.B) {
		more := append(slices.Clone(cols), master.Collector{Name: "new", Node: "n1", Capacity: channels})
		for b.Loop() {
			master.Assign(chs, more, prev)
		}
	})
}

func BenchmarkAssign350(b *testing.B)  { benchmarkAssign(b, 350, 6) }
func BenchmarkAssign5000(b *testing.B) { benchmarkAssign(b, 5000, 60) }
