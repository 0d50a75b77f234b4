package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tungstene/tungstene/pkg/app"
)

type healthCmd struct {
	URL     string        `default:"http://127.0.0.1:8080/readyz" help:"Address to ask: /readyz (can it work now), /healthz (is it alive), or any other that answers 200 when all is well."`
	Timeout time.Duration `default:"4s"                           help:"How long the answer may take."`
	CAFile  string        `help:"PEM file of the authority of the process's certificate, where it serves HTTPS and that is not a public one." name:"ca-file" placeholder:"FILE"`
}

func (healthCmd) Help() string {
	return `Asks a running process whether it is well, for the health checks of containers: the image holds no shell and no curl. Exit code 0 when the answer is 200, else 1 and the answer.

Examples:
  tungstene health
  tungstene health --url http://127.0.0.1:8080/healthz
  tungstene health --url https://127.0.0.1:8080/readyz --ca-file /etc/tungstene/ca.pem`
}

// maxHealthAnswer bounds what is read of an answer, in bytes; Docker keeps 4096 of it.
const maxHealthAnswer = 4096

func (c *healthCmd) Run(ctx context.Context, env app.Env) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, http.NoBody)
	if err != nil || req.URL.Host == "" {
		return app.Usage("--url %q: use http://host:port/path", c.URL)
	}
	// No proxy: the process that is asked stands beside this one.
	config, err := app.ClientTLS("--", c.CAFile, "", "", nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w: is a process running there? Name it with --url", app.ExplainTLS("--", err))
	}
	defer func() { _ = res.Body.Close() }() // read as far as it was wanted
	body, err := io.ReadAll(io.LimitReader(res.Body, maxHealthAnswer))
	if err != nil {
		return fmt.Errorf("health: read the answer of %s: %w", c.URL, err)
	}
	answer := strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s answers %s: %s", c.URL, res.Status, answer)
	}
	fmt.Fprintln(env.Stdout, answer)
	return nil
}
