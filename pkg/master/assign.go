package master

import (
	"cmp"
	"math"
	"slices"
)

const (
	// maxSkew is how far the load of a collector may lie above or below the mean of all before
	// channels are moved: a tenth.
	maxSkew = 0.1
	// baseWeight is added to the weight of every channel, in messages per second: a silent
	// channel costs a JOIN, memory and a place in a connection too, and silent ones spread as
	// well. A mean channel of a large event has 1.7 messages per second.
	baseWeight = 1.0
	// maxWeight bounds a weight, in messages per second; nothing on Twitch comes near.
	maxWeight = 1e6
)

// ChannelID is a channel's Twitch id.
type ChannelID = string

// Channel is a channel to assign.
type Channel struct {
	ID ChannelID
	// Weight is its rate in messages per second.
	Weight float64
	// Replicas is on how many collectors it is to be read; below 1 counts as 1.
	Replicas int
}

// Collector is one that takes channels.
type Collector struct {
	Name string
	// Node is the machine that it runs on; collectors without one count as on nodes of their own.
	Node string
	// Capacity is the most channels that it takes.
	Capacity int
}

// Assignment says which collectors read each channel, their names in order. Channels that nobody
// reads are not in it.
type Assignment map[ChannelID][]string

// Assign spreads channels over collectors. It is deterministic, whatever the order of its input,
// and changes nothing when called again with what it returned.
//
// The load of a collector is the weight of its channels and baseWeight for each. A channel stays
// where prev has it unless the collector is gone or above its capacity, unless its replicas share a
// node while another has room, or unless some collector's load is more than maxSkew away from the
// mean and a move makes loads more even; then as few channels move as bring loads within maxSkew,
// the heaviest that fit first. New channels go to the least loaded collector, heaviest first.
//
// The replicas of a channel are always on different collectors, on different nodes where any has
// room. Every channel gets its first collector before any gets its second: where there is no more
// room, replicas are taken away for channels that nobody reads. No collector gets more channels
// than its capacity. Channels that find no collector at all are returned as unassigned, in order;
// an empty list of collectors yields an empty Assignment.
func Assign(channels []Channel, collectors []Collector, prev Assignment) (next Assignment, unassigned []ChannelID) {
	return assign(channels, collectors, prev, true)
}

// assign is Assign; without rebalance it moves nothing for the sake of even loads or nodes.
func assign(channels []Channel, collectors []Collector, prev Assignment, rebalance bool) (Assignment, []ChannelID) {
	s := newSpread(channels, collectors)
	s.keep(prev)
	// Each step makes more channels read, else more replicas, else more nodes, else more even
	// loads, in this order of importance, and none undoes what counts more. So this ends.
	for {
		changed := s.place()
		if rebalance {
			changed = s.separate() || changed
			changed = s.even() || changed
		}
		if !changed {
			break
		}
	}
	return s.result()
}

// spread is the state of an assignment that is being made. Loads are whole thousandths of messages
// per second, so that their sums don't depend on the order of adding.
type spread struct {
	channels []*chanSlot // heaviest first, then by id
	bins     []*bin      // by name
}

type chanSlot struct {
	id       ChannelID
	load     int64
	replicas int
	on       []*bin
}

type bin struct {
	name, node string
	capacity   int
	load       int64
	has        map[*chanSlot]struct{}
}

func newSpread(channels []Channel, collectors []Collector) *spread {
	s := &spread{}
	seen := make(map[string]bool, len(channels))
	for _, c := range channels {
		if seen[c.ID] {
			continue
		}
		seen[c.ID] = true
		w := c.Weight
		if math.IsNaN(w) {
			w = 0
		}
		w = min(max(w, 0), maxWeight)
		s.channels = append(s.channels, &chanSlot{
			id: c.ID, load: int64(math.Round((w + baseWeight) * 1000)), replicas: max(c.Replicas, 1),
		})
	}
	slices.SortFunc(s.channels, heavier)
	byName := make(map[string]bool, len(collectors))
	for _, c := range collectors {
		if byName[c.Name] {
			continue
		}
		byName[c.Name] = true
		node := "node " + c.Node
		if c.Node == "" {
			node = "collector " + c.Name
		}
		s.bins = append(s.bins, &bin{
			name: c.Name, node: node, capacity: max(c.Capacity, 0), has: make(map[*chanSlot]struct{}),
		})
	}
	slices.SortFunc(s.bins, func(a, b *bin) int { return cmp.Compare(a.name, b.name) })
	return s
}

func heavier(a, b *chanSlot) int {
	return cmp.Or(cmp.Compare(b.load, a.load), cmp.Compare(a.id, b.id))
}

func (b *bin) room() bool { return len(b.has) < b.capacity }

func (c *chanSlot) isOn(b *bin) bool { return slices.Contains(c.on, b) }

// usesNode reports whether a replica is on the node, that on the bin except left out.
func (c *chanSlot) usesNode(node string, except *bin) bool {
	for _, b := range c.on {
		if b != except && b.node == node {
			return true
		}
	}
	return false
}

func put(c *chanSlot, b *bin) {
	c.on = append(c.on, b)
	b.has[c] = struct{}{}
	b.load += c.load
}

func take(c *chanSlot, b *bin) {
	c.on = slices.DeleteFunc(c.on, func(x *bin) bool { return x == b })
	delete(b.has, c)
	b.load -= c.load
}

// lighter orders bins by load, number of channels and name.
func lighter(a, b *bin) int {
	return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(len(a.has), len(b.has)), cmp.Compare(a.name, b.name))
}

// keep puts the channels where they were, and then takes away what is too much.
func (s *spread) keep(prev Assignment) {
	byName := make(map[string]*bin, len(s.bins))
	for _, b := range s.bins {
		byName[b.name] = b
	}
	for _, c := range s.channels {
		for _, name := range prev[c.id] {
			if b := byName[name]; b != nil && !c.isOn(b) {
				put(c, b)
			}
		}
	}
	for _, c := range s.channels {
		for len(c.on) > c.replicas {
			// One that shares its node goes first, then that of the most loaded.
			slices.SortFunc(c.on, func(a, b *bin) int {
				shareA, shareB := c.usesNode(a.node, a), c.usesNode(b.node, b)
				if shareA != shareB {
					if shareA {
						return 1
					}
					return -1
				}
				return lighter(a, b)
			})
			take(c, c.on[len(c.on)-1])
		}
	}
	for _, b := range s.bins {
		if len(b.has) <= b.capacity {
			continue
		}
		// Replicas that have another collector go first, the lightest first.
		list := b.sorted()
		slices.Reverse(list)
		slices.SortStableFunc(list, func(x, y *chanSlot) int {
			return -cmp.Compare(min(len(x.on), 2), min(len(y.on), 2))
		})
		for _, c := range list[:len(b.has)-b.capacity] {
			take(c, b)
		}
	}
}

// sorted is what the bin has, heaviest first.
func (b *bin) sorted() []*chanSlot {
	list := make([]*chanSlot, 0, len(b.has))
	for c := range b.has {
		list = append(list, c)
	}
	slices.SortFunc(list, heavier)
	return list
}

// place gives channels the collectors that they lack.
func (s *spread) place() (changed bool) {
	most := 1
	for _, c := range s.channels {
		most = max(most, c.replicas)
	}
	for round := range most {
		for _, c := range s.channels {
			if len(c.on) > round || c.replicas <= round {
				continue
			}
			if b := s.best(c); b != nil {
				put(c, b)
				changed = true
			} else if round == 0 && s.evict(c) {
				changed = true
			}
		}
	}
	return changed
}

// best is the collector that takes one more replica of c: on a node of its own if possible, then
// the least loaded. It is nil where there is none with room.
func (s *spread) best(c *chanSlot) *bin {
	var best *bin
	bestShares := false
	for _, b := range s.bins {
		if !b.room() || c.isOn(b) {
			continue
		}
		shares := c.usesNode(b.node, nil)
		if best == nil || (bestShares && !shares) || (bestShares == shares && lighter(b, best) < 0) {
			best, bestShares = b, shares
		}
	}
	return best
}

// evict takes the lightest replica of a channel that has several and gives its place to c.
func (s *spread) evict(c *chanSlot) bool {
	for _, victim := range slices.Backward(s.channels) {
		if len(victim.on) < 2 {
			continue
		}
		b := slices.MaxFunc(victim.on, lighter)
		take(victim, b)
		put(c, b)
		return true
	}
	return false
}

// separate moves replicas that share a node to nodes that the channel does not use.
func (s *spread) separate() (changed bool) {
	for _, c := range s.channels {
		for _, from := range slices.SortedFunc(slices.Values(c.on), func(a, b *bin) int { return lighter(b, a) }) {
			if !c.usesNode(from.node, from) {
				continue
			}
			var to *bin
			for _, b := range s.bins {
				if b.room() && !c.isOn(b) && !c.usesNode(b.node, nil) && (to == nil || lighter(b, to) < 0) {
					to = b
				}
			}
			if to != nil {
				take(c, from)
				put(c, to)
				changed = true
			}
		}
	}
	return changed
}

// even moves channels one by one from high to low loads while some load is out of bounds and a move
// makes two loads more even than they were.
func (s *spread) even() (changed bool) {
	if len(s.bins) < 2 {
		return false
	}
	for s.evenOnce() {
		changed = true
	}
	return changed
}

func (s *spread) mean() float64 {
	var sum int64
	n := 0
	for _, b := range s.bins {
		sum += b.load
		if b.capacity > 0 {
			n++
		}
	}
	return float64(sum) / float64(max(n, 1))
}

func (s *spread) evenOnce() bool {
	mean := s.mean()
	low, high := int64(mean*(1-maxSkew)), int64(math.Ceil(mean*(1+maxSkew)))
	bins := slices.SortedFunc(slices.Values(s.bins), lighter)
	for _, from := range slices.Backward(bins) {
		var list []*chanSlot
		for _, to := range bins {
			if from.load <= to.load {
				break
			}
			if !to.room() || (from.load <= high && to.load >= low) {
				continue
			}
			if list == nil {
				list = from.sorted()
			}
			if c := choose(list, from, to, mean); c != nil {
				take(c, from)
				put(c, to)
				return true
			}
		}
	}
	return false
}

// choose picks the channel to move: the heaviest that leaves neither side beyond the mean, else the
// lightest that makes the two more even.
func choose(list []*chanSlot, from, to *bin, mean float64) *chanSlot {
	fits := int64(min(float64(from.load)-mean, mean-float64(to.load)))
	var smallest *chanSlot
	for _, c := range list {
		if c.load >= from.load-to.load || c.isOn(to) {
			continue
		}
		// A move must not bring replicas onto one node.
		if c.usesNode(to.node, from) && !c.usesNode(from.node, from) {
			continue
		}
		if c.load <= fits {
			return c
		}
		smallest = c
	}
	return smallest
}

func (s *spread) result() (Assignment, []ChannelID) {
	next := make(Assignment, len(s.channels))
	var unassigned []ChannelID
	for _, c := range s.channels {
		if len(c.on) == 0 {
			unassigned = append(unassigned, c.id)
			continue
		}
		names := make([]string, 0, len(c.on))
		for _, b := range c.on {
			names = append(names, b.name)
		}
		slices.Sort(names)
		next[c.id] = names
	}
	slices.Sort(unassigned)
	return next, unassigned
}

// skewed reports whether some collector's load is more than the given share above the mean.
func skewed(channels []Channel, collectors []Collector, a Assignment, share float64) bool {
	s := newSpread(channels, collectors)
	s.keep(a)
	mean := s.mean()
	for _, b := range s.bins {
		if float64(b.load) > mean*(1+share) {
			return true
		}
	}
	return false
}
