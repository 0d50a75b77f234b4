package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// handler serves what every process has (/metrics, /healthz, /readyz), and with a master the API
// and the status page, within the bounds of guard.go. Health is not bounded: who is busy is alive.
func (p *Process) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(p.logger, w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", p.ready)
	if p.master == nil {
		return mux
	}
	refused := newLimits(p.registry)
	api := newLimiter(p.logger, refused.guessing).limit(p.master.Handler())
	if p.cfg.ListenTLS.ClientCAFile != "" {
		api = requireCertificate(api)
	}
	mux.Handle("/v1/", ceiling(maxRequests, refused.busy, api))
	views := http.NewServeMux()
	views.Handle("/openapi.json", p.master.Handler())
	views.Handle("/openapi.yaml", p.master.Handler())
	views.Handle("/", p.page.Handler())
	mux.Handle("/", ceiling(maxViews, refused.busy, views))
	return mux
}

// readyTimeout bounds the checks of one readiness request.
const readyTimeout = 3 * time.Second

// ready answers whether this process can do its work now: what it depends on answers. A collector
// is ready without master and queue, since it goes on without them.
func (p *Process) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	checks := map[string]string{}
	status := http.StatusOK
	check := func(name string, err error) {
		checks[name] = "ok"
		if err != nil {
			// Whoever reaches the port is not told addresses and users.
			p.logger.Warn("not ready", slog.String("check", name), slog.Any("err", err))
			checks[name] = "failed"
			status = http.StatusServiceUnavailable
		}
	}
	if p.store != nil {
		check("store", p.store.Check(ctx))
	}
	if p.consumer != nil {
		check("queue", p.queue.Check(ctx))
	}
	writeJSON(p.logger, w, status, checks)
}

func writeJSON(logger *slog.Logger, w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		logger.Error("answer not encoded", slog.Any("err", err))
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(b); err != nil {
		logger.Debug("answer not sent", slog.Any("err", err))
	}
}
