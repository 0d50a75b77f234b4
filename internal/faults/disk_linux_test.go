package faults_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tungstene/tungstene/internal/cluster"
)

// smallDisk mounts a file system of so many bytes, in memory.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tungstene-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes))
	if err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("this machine does not let us mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes to a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 64<<10); len(block) > 0; {
		_, err := f.Write(block)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			block = block[:len(block)/2] // to the last byte
		case err != nil:
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A collector's disk fills up while the broker is away: it stops reading, and says so; Twitch ends its
// connections. It sends what it has as soon as the broker is back, on the disk that is still full, and then
// goes on. What is missing is what its coverage says.
func TestCollectorDiskFull(t *testing.T) {
	schedule(t, false)
	disk := smallDisk(t, 48<<20)
	const name = "collector-1"
	s := begin(t, options{scheduled: true, straight: name, Options: cluster.Options{
		Rate: 80,
		Sim:  []string{"--unread", "32768"}, // a second or two; the system keeps as much again, and more
		Data: func(program string) string {
			if program == name {
				return filepath.Join(disk, "data")
			}
			return filepath.Join(disk, "..", program)
		},
		Config: func(program string) string {
			if program == name {
				return "collector:\n  waiting_records: 200\n"
			}
			return ""
		},
	}})
	victim := s.program(name)
	s.links.cut(name, "broker")
	s.Until("its outbox fills", func() error {
		n, err := victim.Metric("tungstene_collector_outbox_batches")
		if err == nil && n < 20 {
			err = fmt.Errorf("%v batches", n)
		}
		return err
	})
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	s.faults++
	s.Note("the disk of %s is full", name)
	// The outbox makes room for itself, in what it has taken already; somebody else takes that, too.
	stays := func(met func() error) func() error {
		return func() error {
			fill(t, filler)
			return met()
		}
	}
	s.Until("it says so", stays(func() error { return s.saying("outbox-unwritable") }))
	full := time.Now()
	s.Until("its connections are ended", stays(func() error {
		st, err := s.Sim.Status()
		if err == nil && st.Joined == s.Channels {
			err = errors.New("every channel is joined")
		}
		return err
	}))
	s.measure("it was cut off %v after it had said so", time.Since(full).Round(100*time.Millisecond))
	s.lasts("nothing can be written", 5*time.Second)
	s.links.mend(name, "broker")
	back := time.Now()
	s.Until("it has sent what was on its full disk", func() error {
		n, err := victim.Metric("tungstene_collector_outbox_batches")
		if err == nil && n > 3 {
			err = fmt.Errorf("%v batches", n)
		}
		return err
	})
	s.takeovers = append(s.takeovers, time.Since(back))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.Until("it is in every channel again", func() error {
		st, err := s.Sim.Status()
		if err == nil && st.Joined < s.Channels {
			err = fmt.Errorf("%d channels are joined", st.Joined)
		}
		return err
	})
	s.Until("every channel is read", s.allRead)
	s.flow(300)
	s.onlyGapsLost()
	if s.unheard == 0 {
		t.Error("it was never cut off: nothing was tried")
	}
}
