package sim

import "strconv"

// Names are made of syllables, so that they can be spoken, and belong to nobody.
const (
	onsets = "bdfgjklmnprstvwz"
	vowels = "aeiou"
	// syllables is how many there are, names how many names of three of them.
	syllables = len(onsets) * len(vowels)
	names     = uint64(syllables * syllables * syllables)
)

func appendSyllable(b []byte, n uint64) []byte {
	return append(b, onsets[n/uint64(len(vowels))%uint64(len(onsets))], vowels[n%uint64(len(vowels))])
}

// appendName appends the n-th name, in lower case. Different numbers give different names.
func appendName(b []byte, n uint64) []byte {
	// names is 2^12*5^3... the multiplier shares no factor with it, so no two numbers meet.
	x := (n%names*294_001 + 77_777) % names
	for range 3 {
		b = appendSyllable(b, x%uint64(syllables))
		x /= uint64(syllables)
	}
	if round := n / names; round > 0 {
		b = strconv.AppendUint(b, round, 10)
	}
	return b
}

// appendTitle appends what appendName does with a capital first letter.
func appendTitle(b []byte, n uint64) []byte {
	at := len(b)
	b = appendName(b, n)
	b[at] -= 'a' - 'A'
	return b
}

// mix scrambles a number: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
