package local

// fifo is a queue of numbers.
type fifo struct {
	numbers []int64
	head    int
}

func (f *fifo) empty() bool  { return f.head == len(f.numbers) }
func (f *fifo) push(n int64) { f.numbers = append(f.numbers, n) }

func (f *fifo) pop() int64 {
	n := f.numbers[f.head]
	f.head++
	// Give the memory of what was popped back once it is the greater part.
	if f.head >= 1024 && f.head*2 >= len(f.numbers) {
		f.numbers = append([]int64(nil), f.numbers[f.head:]...)
		f.head = 0
	}
	return n
}

// ascending is a container/heap of numbers, the smallest first.
type ascending []int64

func (a ascending) Len() int           { return len(a) }
func (a ascending) Less(i, j int) bool { return a[i] < a[j] }
func (a ascending) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push is heap.Interface's.
func (a *ascending) Push(x any) { *a = append(*a, x.(int64)) } //nolint:forcetypeassert // only numbers are pushed

// Pop is heap.Interface's.
func (a *ascending) Pop() any {
	n := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return n
}
