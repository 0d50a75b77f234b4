package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ManifestName is the file in the output folder that says what each picture was made of.
const ManifestName = "manifest.json"

// CacheName is the folder in the output folder for what later runs need again.
const CacheName = ".cache"

// manifestVersion is raised when the drawing itself changes: then all pictures are made anew.
const manifestVersion = 2

// manifest remembers what pictures were made of, so that a run goes on where one was broken off.
type manifest struct {
	mu      sync.Mutex
	path    string
	written time.Time
	dirty   bool
	doc     manifestDoc
}

type manifestDoc struct {
	Version  int                `json:"version"`
	Event    string             `json:"event"`
	Pictures map[string]picture `json:"pictures"`
}

type picture struct {
	// Input is the hash of all that is in the picture; Bytes the file's length.
	Input string `json:"input"`
	Bytes int64  `json:"bytes"`
}

// ErrOut is wrapped by errors about a folder that pictures are not written to.
var ErrOut = errors.New("the folder is not for pictures")

// CheckOut refuses a folder that holds something else than pictures of an earlier run: files in it would
// be mixed up or written over. One that is not there or empty is fine. data is the folder of the store,
// where pictures never go; empty for none. Errors wrap ErrOut.
func CheckOut(dir, data string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the folder of the pictures: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is a file", ErrOut, dir)
	}
	if data != "" {
		if store, err := os.Stat(data); err == nil && os.SameFile(info, store) {
			return fmt.Errorf("%w: %s holds the data of events; name another folder, such as %s", ErrOut, dir, filepath.Join(dir, "pictures"))
		}
	}
	if file, err := os.ReadFile(filepath.Join(dir, ManifestName)); err == nil {
		var doc manifestDoc
		if json.Unmarshal(file, &doc) == nil && doc.Version > 0 && doc.Pictures != nil {
			return nil
		}
		return fmt.Errorf("%w: %s in %s is not that of pictures; name an empty folder", ErrOut, ManifestName, dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look at the folder of the pictures: %w", err)
	}
	for _, e := range entries {
		if e.Name() != CacheName {
			return fmt.Errorf("%w: %s is not empty (%s), and has no %s of an earlier run; name an empty folder", ErrOut, dir, e.Name(), ManifestName)
		}
	}
	return nil
}

// openManifest reads the manifest of a folder. One of another version or event, or that can't be read, is
// as none: the pictures are made anew.
func openManifest(dir, event string) (*manifest, error) {
	m := &manifest{path: filepath.Join(dir, ManifestName), doc: manifestDoc{Version: manifestVersion, Event: event, Pictures: map[string]picture{}}}
	data, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) { // from now on the folder is that of pictures
		err = m.write()
		return m, err
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of the pictures: %w", err)
	}
	var doc manifestDoc
	if json.Unmarshal(data, &doc) == nil && doc.Version == manifestVersion && doc.Event == event && doc.Pictures != nil {
		m.doc = doc
	}
	return m, nil
}

// has reports whether a file is there and was made of the input.
func (m *manifest) has(dir, file, input string) bool {
	m.mu.Lock()
	p, ok := m.doc.Pictures[file]
	m.mu.Unlock()
	if !ok || p.Input != input {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file)))
	return err == nil && info.Mode().IsRegular() && info.Size() == p.Bytes
}

// put notes a file that was written, and writes the manifest now and then.
func (m *manifest) put(file string, p picture) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doc.Pictures[file] = p
	m.dirty = true
	if time.Since(m.written) < 2*time.Second {
		return nil
	}
	return m.write()
}

// close writes what was noted.
func (m *manifest) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirty {
		return nil
	}
	return m.write()
}

func (m *manifest) write() error {
	data, err := json.MarshalIndent(m.doc, "", " ")
	if err != nil {
		return fmt.Errorf("write the manifest of the pictures: %w", err)
	}
	if err := writeFile(m.path, append(data, '\n')); err != nil {
		return err
	}
	m.written, m.dirty = time.Now(), false
	return nil
}

// unfinished begins the names of files that are being written.
const unfinished = ".new-"

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), unfinished+"*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
