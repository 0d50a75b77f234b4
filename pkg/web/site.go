package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var files embed.FS

// contentType is the type of an asset that is served, by extension; empty for the others.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return ""
}

// site is what is embedded: the page's template, its texts and its assets.
type site struct {
	page    *template.Template
	texts   catalogue
	assets  map[string]asset
	version string // hash of all
}

type asset struct {
	body []byte
	kind string
	etag string
}

func newSite() (*site, error) {
	s := &site{assets: map[string]asset{}}
	entries, err := fs.ReadDir(files, "assets")
	if err != nil {
		return nil, fmt.Errorf("status page: read the embedded assets: %w", err)
	}
	all := sha256.New()
	for _, e := range entries {
		body, err := fs.ReadFile(files, "assets/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("status page: read the embedded %s: %w", e.Name(), err)
		}
		_, _ = all.Write(body)
		kind := contentType(e.Name())
		if kind == "" {
			continue
		}
		sum := sha256.Sum256(body)
		s.assets[e.Name()] = asset{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	s.version = hex.EncodeToString(all.Sum(nil)[:8])
	if s.texts, err = readCatalogue(); err != nil {
		return nil, err
	}
	s.page, err = template.ParseFS(files, "assets/page.html")
	if err != nil {
		return nil, fmt.Errorf("status page: parse the page: %w", err)
	}
	return s, nil
}

// asset serves GET /assets/{name}.
func (s *site) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.etag)
	// Asked for again each time, answered with 304: an upgrade shows at the next load.
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// page serves GET /.
func (s *Status) page(w http.ResponseWriter, r *http.Request) {
	lang := language(r)
	if r.URL.Query().Get("lang") == lang {
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // it holds a language; on plain HTTP it must work too
			Name: langCookie, Value: lang, Path: "/", MaxAge: 365 * 24 * 3600, SameSite: http.SameSiteLaxMode,
			HttpOnly: true, Secure: r.TLS != nil,
		})
	}
	v := newView(lang, s.site, s.latest.Load(), s.cfg.Version)
	var b bytes.Buffer
	if err := s.site.page.Execute(&b, v); err != nil {
		s.log.Error("status page: render the page", "err", err)
		http.Error(w, "the page can't be rendered; the log says why", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Vary", "Accept-Language, Cookie")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // a viewer that has gone is no error of ours
}

// policy allows what the page is made of and nothing else: no inline script or style, no other
// origin, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secure sets the headers that every answer has.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}
