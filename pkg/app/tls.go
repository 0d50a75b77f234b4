package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// pemAge is how long PEM files are used before they are looked at again.
const pemAge = time.Second

// reloaded is what was made of some files; it is made anew when they change. When that fails, what
// was there stays in use: files are replaced one after the other, and in between they don't fit.
type reloaded[T any] struct {
	files  []string
	make   func(contents [][]byte) (T, error)
	failed func(error)

	mu       sync.Mutex
	looked   time.Time
	contents [][]byte
	value    T
}

// newReloaded reads the files for the first time. Failed is told of later failures, once each.
func newReloaded[T any](files []string, build func(contents [][]byte) (T, error), failed func(error)) (*reloaded[T], error) {
	r := &reloaded[T]{files: files, make: build, failed: failed}
	contents, err := r.read()
	if err != nil {
		return nil, err
	}
	if r.value, err = build(contents); err != nil {
		return nil, err
	}
	r.contents, r.looked = contents, time.Now()
	return r, nil
}

func (r *reloaded[T]) read() ([][]byte, error) {
	var contents [][]byte
	for _, f := range r.files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err //nolint:wrapcheck // it names the file
		}
		contents = append(contents, b)
	}
	return contents, nil
}

// get is what the files hold, or held when they could be used last.
func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < pemAge {
		return r.value
	}
	r.looked = time.Now()
	contents, err := r.read()
	if err != nil {
		r.failed(err)
		return r.value
	}
	same := true
	for i := range contents {
		same = same && bytes.Equal(contents[i], r.contents[i])
	}
	if same {
		return r.value
	}
	value, err := r.make(contents)
	if err != nil {
		r.failed(err)
		return r.value
	}
	r.value, r.contents = value, contents
	return value
}

func authorityPool(file string) func([][]byte) (*x509.CertPool, error) {
	return func(contents [][]byte) (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(contents[0]) {
			return nil, fmt.Errorf("%s holds no PEM certificate", file)
		}
		return pool, nil
	}
}

// keyPair makes a certificate; its error has nothing of the key.
func keyPair(certFile, keyFile string) func([][]byte) (*tls.Certificate, error) {
	return func(contents [][]byte) (*tls.Certificate, error) {
		cert, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
		}
		return &cert, nil
	}
}

// ClientTLS makes the TLS configuration of a client from PEM files. No authorities means the
// system's; they are read once. A certificate is optional, and is read again when its files change.
func ClientTLS(field, caFile, certFile, keyFile string, logger *slog.Logger) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		b, err := os.ReadFile(caFile)
		if err == nil {
			cfg.RootCAs, err = authorityPool(caFile)([][]byte{b})
		}
		if err != nil {
			return nil, &FieldError{Field: fieldOfTLS(field, "ca_file"), Err: err, Environment: true}
		}
	}
	if certFile == "" {
		return cfg, nil
	}
	cert, err := newReloaded([]string{certFile, keyFile}, keyPair(certFile, keyFile), keeping(logger, field+".cert_file"))
	if err != nil {
		return nil, &FieldError{Field: fieldOfTLS(field, "cert_file"), Err: err, Environment: true}
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.get(), nil }
	return cfg, nil
}

// keeping logs that changed files could not be taken up.
func keeping(logger *slog.Logger, field string) func(error) {
	return func(err error) {
		logger.Warn("changed certificate not taken up, the one before stays in use", slog.String("field", field), slog.Any("err", err))
	}
}

// server makes the TLS configuration of the listener; nil when it speaks plain HTTP. All files are
// read again when they change.
//
// A client certificate is verified when it is given, and asked for at /v1 only (requireCertificate):
// probes, Prometheus and the page's viewers have none, and a client without one is told so in words.
func (t ListenTLSConfig) server(logger *slog.Logger) (*tls.Config, error) {
	const field = "listen_tls"
	if t.CertFile == "" {
		return nil, nil //nolint:nilnil // no TLS is a normal answer
	}
	cert, err := newReloaded([]string{t.CertFile, t.KeyFile}, keyPair(t.CertFile, t.KeyFile), keeping(logger, field+".cert_file"))
	if err != nil {
		return nil, &FieldError{Field: field + ".cert_file", Err: err, Environment: true}
	}
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil },
	}
	if t.ClientCAFile == "" {
		return base, nil
	}
	clients, err := newReloaded([]string{t.ClientCAFile}, authorityPool(t.ClientCAFile), keeping(logger, field+".client_ca_file"))
	if err != nil {
		return nil, &FieldError{Field: field + ".client_ca_file", Err: err, Environment: true}
	}
	// Resumed sessions would keep the authorities that they began with.
	base.SessionTicketsDisabled = true
	base.ClientAuth = tls.VerifyClientCertIfGiven
	base.ClientCAs = clients.get()
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.ClientCAs = clients.get()
		return c, nil
	}
	return base, nil
}

// requireCertificate lets requests to the API pass that came with a verified client certificate.
func requireCertificate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			writeProblem(w, http.StatusForbidden, "a client certificate is needed, of an authority of listen_tls.client_ca_file: name one in master.cert_file and master.key_file")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ExplainTLS adds to an error of a TLS connection which field of a section is wrong, and what to do.
// Other errors are returned as they are.
func ExplainTLS(section string, err error) error {
	if err == nil {
		return nil
	}
	if already := (&explainedError{}); errors.As(err, &already) {
		return err
	}
	if remedy := remedyTLS(section, err); remedy != "" {
		return &explainedError{err, remedy}
	}
	return err
}

// explainedError is an error with what to do about it.
type explainedError struct {
	err    error
	remedy string
}

func (e *explainedError) Error() string { return e.err.Error() + ": " + e.remedy }
func (e *explainedError) Unwrap() error { return e.err }

// fieldOfTLS is a field of a section, or a flag where the section is the beginning of flags ("--");
// without a name it is the section.
func fieldOfTLS(section, name string) string {
	flag := strings.HasPrefix(section, "--")
	switch {
	case name == "" && strings.Trim(section, "-") == "":
		return "TLS"
	case name == "":
		return section
	case flag:
		return strings.TrimSuffix(section, "-") + "-" + strings.ReplaceAll(name, "_", "-")
	}
	return section + "." + name
}

// remedyTLS knows errors by their types, and by their words where a library passes on no more.
func remedyTLS(section string, err error) string {
	text := err.Error()
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	var (
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		plain    tls.RecordHeaderError
		usage    = says("incompatible key usage")
		expired  = errors.As(err, &invalid) && invalid.Reason == x509.Expired || says("certificate has expired or is not yet valid")
		mismatch = errors.As(err, &host) || says("x509: certificate is valid for", "x509: cannot validate certificate for", "is not valid for any names", "doesn't contain any IP SANs")
	)
	switch {
	case says("the server asked for a client certificate", "remote error: tls: certificate required", "remote error: tls: handshake failure", "remote error: tls: bad certificate"):
		return fieldOfTLS(section, "cert_file") + ": the server wants a client certificate of an authority that it trusts: name it here, with key_file, or have the server trust its authority"
	case says("remote error: tls: unknown certificate authority", "remote error: tls: unknown certificate"):
		return fieldOfTLS(section, "cert_file") + ": the server does not trust the authority of this client certificate: add it to the server's authorities, or use another certificate"
	case says("remote error: tls: expired certificate", "remote error: tls: certificate expired"):
		return fieldOfTLS(section, "cert_file") + ": the client certificate has expired: renew it; the new file is taken up without a restart"
	case says("remote error: tls: protocol version not supported", "tls: server selected unsupported protocol version"):
		return fieldOfTLS(section, "") + ": the server speaks no TLS 1.2 or newer: upgrade it"
	case errors.As(err, &unknown), says("certificate signed by unknown authority"):
		return fieldOfTLS(section, "ca_file") + ": the server's certificate is of an authority that is not trusted: name the PEM file of that authority here"
	case expired:
		return fieldOfTLS(section, "") + ": the server's certificate has expired or is not valid yet: renew it, and compare the clocks of both machines"
	case mismatch:
		return fieldOfTLS(section, "") + ": the server's certificate is for other names than the one it was reached by: use one of its names in the address, or have it made anew with this one"
	case usage:
		return fieldOfTLS(section, "") + ": the server's certificate is not made for servers: it needs the extended key usage serverAuth"
	case errors.As(err, &plain), says("first record does not look like a TLS handshake", "http: server gave HTTP response to HTTPS client"):
		return fieldOfTLS(section, "") + ": the server does not speak TLS at this port: use its TLS port, or switch TLS off here"
	}
	return ""
}

// explaining adds remedies to the errors of a transport.
type explaining struct {
	section string
	next    *http.Transport
}

func (e explaining) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := e.next.RoundTrip(r)
	if errors.Is(err, io.EOF) && r.URL.Scheme == "http" {
		err = fmt.Errorf("%w: does the master speak TLS? Then use https in master.urls", err)
	}
	return res, ExplainTLS(e.section, err)
}

func (e explaining) CloseIdleConnections() { e.next.CloseIdleConnections() }
