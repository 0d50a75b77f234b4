// Command ferretdb serves MongoDB's protocol from SQLite files, for tests on machines that have no
// MongoDB. It prints its address (host:port) as one line on stdout once it listens, and exits on
// SIGTERM, on SIGINT, and when its stdin is closed, so that the end of a test is its end too.
//
// It is a module of its own because FerretDB's dependencies are no concern of Tungstene's. It is a
// stand-in for tests on small data, never a database for users: it uses no index, and concurrent
// updates of one document over several connections can get lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	dir := flag.String("dir", "", "directory of the database files; it must exist (required)")
	verbose := flag.Bool("verbose", false, "log to stderr what the server does")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb -dir DIR [-listen 127.0.0.1:0] [-verbose]")
		os.Exit(2)
	}
	if err := run(*listen, *dir, *verbose, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run(listen, dir string, verbose bool, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	if _, _, err := net.SplitHostPort(listen); err != nil {
		return fmt.Errorf("address %q: %w", listen, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("directory %q: %w", dir, err)
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("directory %q: it must exist", dir), err)
	}
	// A find decodes every document of its collection, and throws most of them away: half of its time was
	// the collector's.
	debug.SetGCPercent(800)
	level := slog.LevelError
	if verbose {
		level = slog.LevelInfo
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: listen},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Handler:  "sqlite",
		// What is acknowledged survives the death of this process, if not that of the machine. An
		// insert that meets one duplicate is done document by document, each with a flush otherwise.
		SQLiteURL: "file:" + abs + "/?_pragma=synchronous(normal)",
	})
	if err != nil {
		return fmt.Errorf("start on %s: %w", listen, err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	u, err := url.Parse(server.MongoDBURI()) // blocks until it listens
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	if _, err := fmt.Fprintln(stdout, u.Host); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	go func() {
		// Whatever is sent is thrown away; only the end counts, and any error is an end.
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return <-done
}
