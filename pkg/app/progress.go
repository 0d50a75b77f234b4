package app

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// progress writes a line that changes in place on a terminal, and a line every ten seconds
// elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	written  time.Time
	width    int
	remove   string // a folder to remove at the end
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

const (
	terminalEvery = 200 * time.Millisecond
	logEvery      = 10 * time.Second
)

func (p *progress) line(format string, args ...any) {
	every := logEvery
	if p.terminal {
		every = terminalEvery
	}
	if time.Since(p.written) < every {
		return
	}
	p.written = time.Now()
	s := fmt.Sprintf(format, args...)
	if !p.terminal {
		fmt.Fprintln(p.w, s)
		return
	}
	width := len([]rune(s))
	fmt.Fprintf(p.w, "\r%s%s", s, strings.Repeat(" ", max(p.width-width, 0)))
	p.width = width
}

// end leaves the line as it is and goes to the next.
func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintln(p.w)
		p.width = 0
	}
	p.written = time.Time{}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// clockTime writes a duration as minutes and seconds, with hours where there are any.
func clockTime(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// peakMemory is the most memory that this process has had resident, in bytes; 0 where the system
// does not tell.
func peakMemory() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if kb, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(kb)), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
