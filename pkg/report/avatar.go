package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif"  // avatars
	_ "image/jpeg" // avatars
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds of what is fetched for avatars.
const (
	avatarTimeout  = 10 * time.Second // one of them
	avatarsTimeout = 45 * time.Second // all of them
	avatarBytes    = 4 << 20
	avatarPixels   = 4096 * 4096
	avatarSize     = 192 // as which it is kept: twice what the largest template shows
	avatarsAtOnce  = 8
	avatarGiveUp   = 6 // failures in a row after which no more are tried
)

// Avatars fetches the pictures of streamers and keeps them.
type Avatars struct {
	// Client fetches. Default: one that takes http and https, with proxies of the environment.
	Client *http.Client
	// Dir is the folder where they are kept between runs. Default: in memory, for the next Load.
	Dir string
	// Logger. Default: slog.Default.
	Logger *slog.Logger

	mu     sync.Mutex
	memory map[string][]byte // by address; without Dir
}

// errUnfit is wrapped by errors about what no avatar can be made of.
var errUnfit = errors.New("no picture")

// Load returns the pictures by the streamers' ids. Those that can't be had are missing: pictures show
// initials instead.
func (a *Avatars) Load(ctx context.Context, streamers []*Streamer) map[string][]byte {
	logger := a.Logger
	if logger == nil {
		logger = slog.Default()
	}
	client := a.Client
	if client == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: avatarsAtOnce}
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport}
	}
	ctx, cancel := context.WithTimeout(ctx, avatarsTimeout)
	defer cancel()
	var (
		mu       sync.Mutex
		out      = map[string][]byte{}
		failures int
		missing  int
		last     error
	)
	group := errgroup.Group{}
	group.SetLimit(avatarsAtOnce)
	for _, s := range streamers {
		if s.Picture == "" {
			continue
		}
		group.Go(func() error {
			picture, err := a.kept(s.Picture)
			if err != nil {
				mu.Lock()
				stop := failures >= avatarGiveUp
				mu.Unlock()
				if stop {
					err = errors.New("others failed before it")
				} else if picture, err = fetch(ctx, client, s.Picture); err == nil {
					err = a.keep(s.Picture, picture)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(picture) > 0 {
				out[s.Channel] = picture
			}
			switch {
			case err == nil:
				failures = 0
			case errors.Is(err, errUnfit): // its own fault, not the network's
				missing, last = missing+1, err
			default:
				failures, missing = failures+1, missing+1
				if last == nil {
					last = err
				}
			}
			return nil
		})
	}
	_ = group.Wait() // none fails: what is missing is told below
	if missing > 0 {
		logger.Warn("some avatars can't be had; initials are shown instead", "missing", missing, "err", last)
	}
	return out
}

func (a *Avatars) path(address string) string {
	sum := sha256.Sum256([]byte(address))
	return filepath.Join(a.Dir, hex.EncodeToString(sum[:12])+".png")
}

func (a *Avatars) kept(address string) ([]byte, error) {
	if a.Dir == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		if picture, ok := a.memory[address]; ok {
			return picture, nil
		}
		return nil, os.ErrNotExist
	}
	return os.ReadFile(a.path(address))
}

func (a *Avatars) keep(address string, picture []byte) error {
	if a.Dir == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.memory == nil {
			a.memory = map[string][]byte{}
		}
		a.memory[address] = picture
		return nil
	}
	if err := os.MkdirAll(a.Dir, 0o755); err != nil { //nolint:gosec // public pictures
		return fmt.Errorf("keep avatars: %w", err)
	}
	return writeFile(a.path(address), picture)
}

func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("%w: %q is no http address", errUnfit, address)
	}
	ctx, cancel := context.WithTimeout(ctx, avatarTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnfit, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch an avatar: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answers %s", errUnfit, address, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, avatarBytes+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	if len(body) > avatarBytes {
		return nil, fmt.Errorf("%w: %s is larger than %d MiB", errUnfit, address, avatarBytes>>20)
	}
	small, err := shrink(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errUnfit, address, err)
	}
	return small, nil
}

// shrink makes a square PNG of avatarSize out of a PNG, JPEG or GIF: the middle of it, each pixel the mean
// of those that it covers.
func shrink(file []byte) ([]byte, error) {
	cfg, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width*cfg.Height > avatarPixels {
		return nil, fmt.Errorf("a picture of %d by %d pixels", cfg.Width, cfg.Height)
	}
	src, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	b := src.Bounds()
	side := min(b.Dx(), b.Dy())
	size := min(side, avatarSize)
	left, top := b.Min.X+(b.Dx()-side)/2, b.Min.Y+(b.Dy()-side)/2
	dst := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			var r, g, bl, a, n uint64
			for sy := top + y*side/size; sy < top+max((y+1)*side/size, y*side/size+1); sy++ {
				for sx := left + x*side/size; sx < left+max((x+1)*side/size, x*side/size+1); sx++ {
					pr, pg, pb, pa := src.At(sx, sy).RGBA()
					r, g, bl, a, n = r+uint64(pr), g+uint64(pg), bl+uint64(pb), a+uint64(pa), n+1
				}
			}
			dst.Set(x, y, color.RGBA64{R: uint16(r / n), G: uint16(g / n), B: uint16(bl / n), A: uint16(a / n)})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, dst); err != nil {
		return nil, fmt.Errorf("write the picture: %w", err)
	}
	return out.Bytes(), nil
}
