package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/app"
)

// The sample is made, exported, and queried in SQL, by the commands of the manual.
func TestExportAndSQL(t *testing.T) {
	t.Parallel()
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "export")
	command := func(args ...string) (stdout, stderr string, code int) {
		t.Helper()
		code, stdout, stderr = run(t, append(args, "--data", data)...)
		return stdout, stderr, code
	}
	if _, stderr, code := command("sample", "--channels", "3", "--hours", "2", "--messages", "400"); code != app.ExitOK {
		t.Fatal(stderr)
	}
	stdout, stderr, code := command("export", "--out", out, "--format", "csv")
	if code != app.ExitOK || !strings.Contains(stdout, "summaries") || strings.Contains(stdout, "what comes later is not in it") {
		t.Fatalf("export: %d\n%s\n%s", code, stdout, stderr)
	}
	if _, err := os.Stat(filepath.Join(out, "message", "day=2026-09-04", "message.csv")); err != nil {
		t.Error(err)
	}
	if _, stderr, code := command("export", "--out", out, "--format", "csv"); code != app.ExitFailed || !strings.Contains(stderr, "--replace") {
		t.Errorf("an export over another: %d, %s", code, stderr)
	}
	stdout, _, code = command("export", "--out", out, "--format", "jsonl", "--replace", "--json", "--table", "totals")
	var m struct {
		Complete bool `json:"complete"`
		Rows     int  `json:"rows"`
	}
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || code != app.ExitOK || !m.Complete || m.Rows != 4 {
		t.Errorf("%d, %v: %s", code, err, stdout)
	}
	if _, stderr, code := command("export", "--out", out, "--format", "csv", "--table", "chat"); code != app.ExitUsage || !strings.Contains(stderr, "message, minutes") {
		t.Errorf("a table that does not exist: %d, %s", code, stderr)
	}

	query := "SELECT channel, doc_json(doc) ->> 'messages' AS messages, NULL AS blank FROM totals WHERE channel = '*'"
	for format, want := range map[string]string{
		"table": "channel  messages  blank\n*        400       -\n",
		"csv":   "channel,messages,blank\n*,400,\n",
		"json":  `{"channel":"*","messages":400,"blank":null}` + "\n",
	} {
		if stdout, stderr, code := command("sql", "--format", format, query); code != app.ExitOK || stdout != want {
			t.Errorf("%s: %d\n%s%s", format, code, stdout, stderr)
		}
	}
	for query, want := range map[string]string{
		"DELETE FROM totals":     "readonly",
		"SELECT doc_json(1)":     "no document",
		"SELECT doc_json(x'00')": "doc_json",
		"SELECT kind FROM there": "no such table",
	} {
		if _, stderr, code := command("sql", query); code != app.ExitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s", query, code, stderr)
		}
	}
	for query, want := range map[string]string{
		"SELECT 1; SELECT 2": "2 statements in the query: one is answered at a time",
		";-- nothing":        "0 statements in the query",
	} {
		if _, stderr, code := command("sql", query); code != app.ExitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s", query, code, stderr)
		}
	}
	if stdout, _, _ := command("sql", "--json", query); !strings.Contains(stdout, "400") {
		t.Error("something was deleted")
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]int{
		"":                             0,
		" ;; \n":                       0,
		"-- one":                       0,
		"/* one; two":                  0,
		"SELECT 1":                     1,
		"SELECT 1;":                    1,
		"SELECT 1; -- two; three":      1,
		"SELECT 1 /* ; */; /* four */": 1,
		"SELECT ';', \";\", `;`, [;]":  1,
		"SELECT 'it''s; one'":          1,
		"SELECT 'never closed; two":    1,
		"SELECT 4-1/2; SELECT 2":       2,
		"SELECT 1;SELECT ';';SELECT 3": 3,
		"-- a comment\nSELECT 1; x":    2,
	} {
		if n := statements(query); n != want {
			t.Errorf("%q: %d statements, should be %d", query, n, want)
		}
	}
}
