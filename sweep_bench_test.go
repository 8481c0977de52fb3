package hail

import (
	"fmt"
	"testing"
	"time"

	"example.com/hail/internal/link"
)

// BenchmarkSweep looks at idle connections once, as a server does each half second.
func BenchmarkSweep(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			s := &Server{}
			s.setup()
			for range n {
				c := &Conn{server: s, link: new(link.Conn)}
				c.link.Stamps.Read.Set(time.Second)
				s.conns.Number((*owner)(c))
				s.conns.Add((*owner)(c))
			}
			b.ResetTimer()
			for range b.N {
				for o := range s.conns.All() {
					(*Conn)(o).check(2 * time.Second)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/conn")
		})
	}
}
