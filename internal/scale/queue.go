package scale

// queue is a heap of functions, the one that is due next first.
type queue []*function

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(f any) {
	f.(*function).place = len(*q)
	*q = append(*q, f.(*function))
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	f := (*q)[last]
	(*q)[last] = nil
	*q, f.place = (*q)[:last], -1
	return f
}
