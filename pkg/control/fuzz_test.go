package control_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/control"
)

// said answers every request with the same.
type said struct {
	status int
	kind   string
	body   string
}

func (s said) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: s.status, Status: http.StatusText(s.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {s.kind}}, Body: io.NopCloser(strings.NewReader(s.body)), Request: r,
	}, nil
}

// Whatever answers at a master's address, a collector gets an assignment or an error, and an
// operator words.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		``, `null`, `{}`, `[]`, `{"now":"2026-09-04T18:00:00Z"}`,
		`{"assignment":{"collector":"c1","epoch":3,"revision":5,"events":[{"slug":"a","key":"AAAA"}],"channels":[{"channel":"1","login":"a"}],"budget":{"joins":20}}}`,
		`{"status":409,"title":"Conflict","detail":"there is an event a already","errors":[{"message":"x","location":"body"}]}`, `<html>`,
	} {
		f.Add(200, "application/json", body)
		f.Add(409, "application/problem+json", body)
		f.Add(502, "text/html", body)
	}
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		if status < 200 || status > 599 {
			return
		}
		c, err := control.New([]string{"http://m1"}, func() (string, error) { return "t", nil }, &http.Client{Transport: said{status, kind, body}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Heartbeat(t.Context(), control.Heartbeat{Collector: "c1"}); err == nil && status >= 300 {
			t.Errorf("%d was believed", status)
		} else if err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
		if _, err := c.DropLetters(t.Context(), control.LetterChoice{}); err == nil && status >= 300 {
			t.Errorf("%d was believed", status)
		}
	})
}
