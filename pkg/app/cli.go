package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tungstene/tungstene/pkg/control"
)

// The exit codes of every program.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2 // wrong flags, or a wrong configuration
)

// ConfigFile is the flag that names the configuration file. Its values are those of the flags that
// are neither given nor in the environment.
type ConfigFile string

// BeforeResolve reads and checks the file.
func (c ConfigFile) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path, ok := ctx.FlagValue(trace.Flag).(ConfigFile)
	if !ok || path == "" {
		return nil
	}
	f, err := LoadFile(kong.ExpandPath(string(path)))
	if err != nil {
		return err
	}
	if err := f.Validate(k.Model); err != nil {
		return err
	}
	ctx.AddResolver(f)
	return nil
}

// Configured is a command's whole configuration.
type Configured struct {
	File ConfigFile `env:"TUNGSTENE_CONFIG" help:"YAML file with the configuration; docs/configuration.md lists its fields." name:"config" placeholder:"FILE" short:"c"`
	Config
}

// Checked returns the configuration when it is right. The error names where each wrong value came
// from.
func (c *Configured) Checked() (Config, error) {
	return c.Config, c.Locate(c.Check())
}

// Locate makes the FieldErrors in err name file and line.
func (c *Configured) Locate(err error) error { return c.File.Locate(err) }

// Locate makes the FieldErrors in err name file and line.
func (c ConfigFile) Locate(err error) error {
	var field *FieldError
	if err == nil || !errors.As(err, &field) {
		return err
	}
	var f *File
	if c != "" {
		var ferr error
		if f, ferr = LoadFile(kong.ExpandPath(string(c))); ferr != nil {
			return errors.Join(err, ferr)
		}
	}
	if err = f.Locate(err); field.Environment {
		return err
	}
	return &usageError{err}
}

// Shown is what help shows of the configuration: --config and all fields, since roles need them.
func (*Configured) Shown() []string { return []string{""} }

// Stored is the whole configuration of a command that only opens the store.
type Stored struct{ Configured }

// Shown is what help shows of the configuration.
func (*Stored) Shown() []string { return []string{"data"} }

// usageError is an error of the flags or the configuration, not of the work.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage marks an error as one of the flags or the configuration.
func Usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// ErrReported is returned by a command that has told everything already; the program just fails.
var ErrReported = errors.New("reported")

// Program is one of the programs of cmd/.
type Program struct {
	Name, Description, Version string
	// Grammar is a pointer to the kong structure of its commands or flags.
	Grammar any
	// Run does the work when the grammar itself is the command; nil when it has commands with a
	// Run method of their own.
	Run            func(ctx context.Context) error
	Stdout, Stderr io.Writer
}

// Main parses the arguments and runs, and returns the exit code. The context that commands get
// ends with SIGINT or SIGTERM.
func (p Program) Main(args []string) (code int) {
	if p.Stdout == nil {
		p.Stdout = os.Stdout
	}
	if p.Stderr == nil {
		p.Stderr = os.Stderr
	}
	stdout, out := p.Stdout, (*checkedFile)(nil)
	if f, ok := stdout.(*os.File); ok {
		out = &checkedFile{File: f}
		stdout = out
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Only the first signal asks; a second one ends the program as if nobody listened.
	defer context.AfterFunc(ctx, stop)()
	exited := false
	parser, err := kong.New(p.Grammar,
		kong.Name(p.Name), kong.Description(p.Description),
		kong.PostBuild(environment),
		kong.TypeMapper(reflect.TypeFor[time.Time](), kong.MapperFunc(moment)),
		kong.TypeMapper(reflect.TypeFor[*time.Time](), kong.MapperFunc(moment)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Help(func(o kong.HelpOptions, ctx *kong.Context) error {
			if n := ctx.Selected(); n != nil && n.DefaultCmd != nil { // its flags go without its name
				n.Flags = append(n.Flags, n.DefaultCmd.Flags...)
			}
			return kong.DefaultHelpPrinter(o, ctx)
		}),
		kong.Vars{"version": p.Version},
		kong.Writers(p.Stdout, p.Stderr),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(Env{Stdout: stdout, Stderr: p.Stderr, Version: p.Version}),
		kong.Exit(func(c int) { exited, code = true, c }),
	)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return ExitUsage
	}
	parsed, err := parser.Parse(wordsFirst(parser.Model.Node, args))
	if exited { // --help, --version
		return code
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, noValue.ReplaceAllString(err.Error(), "give it a value"))
		var perr *kong.ParseError
		if errors.As(err, &perr) && perr.Context != nil {
			fmt.Fprintf(p.Stderr, "see: %s --help\n", helpOf(p.Name, perr.Context))
		}
		return ExitUsage
	}
	if p.Run != nil {
		err = p.Run(ctx)
	} else {
		err = parsed.Run(Command(parsed.Selected().Name))
	}
	var wrong *usageError
	if err == nil && out != nil && out.err != nil {
		err = out.err
	}
	switch {
	case err == nil:
		return ExitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(p.Stderr, "%s: interrupted: %s\n", p.Name, strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()))
		return ExitFailed
	case errors.Is(err, ErrReported):
		return ExitFailed
	case errors.As(err, &wrong), refused(err):
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return ExitUsage
	}
	fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
	return ExitFailed
}

// checkedFile remembers the first error of writing, for what is printed to a full disk has failed.
type checkedFile struct {
	*os.File
	err error
}

func (f *checkedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if f.err == nil {
		f.err = err
	}
	return n, err //nolint:wrapcheck // the file's own
}

// noValue is what kong says where the arguments end after a flag that takes a value.
var noValue = regexp.MustCompile(`expected \S+ value but got "EOL" \(<EOL>\)`)

// moment reads a flag that is a time, or a pointer to one.
func moment(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("time", &text); err != nil {
		return err //nolint:wrapcheck // it says that the value is missing
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("%q is no time with its offset: use a time such as 2026-12-04T18:00:00+01:00", text)
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.ValueOf(&t))
	} else {
		target.Set(reflect.ValueOf(t))
	}
	return nil
}

// wordsFirst puts the names of commands before the flags that stand between them: a flag may be anywhere.
func wordsFirst(node *kong.Node, args []string) []string {
	rest := slices.Clone(args)
	for words := 0; ; words++ {
		at := words
		for at < len(rest) && strings.HasPrefix(rest[at], "-") && len(rest[at]) > 1 {
			if rest[at] == "--" {
				return rest
			}
			if takesValue(node, rest[at]) {
				at++
			}
			at++
		}
		if at >= len(rest) {
			return rest
		}
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == rest[at] })
		if i < 0 {
			return rest
		}
		node = node.Children[i]
		rest = slices.Insert(slices.Delete(rest, at, at+1), words, node.Name)
	}
}

// takesValue reports whether what follows an argument is its value: it is a flag, of the command or one
// below it, that is not true or false alone and does not bring its value itself.
func takesValue(node *kong.Node, arg string) bool {
	for _, f := range node.Flags {
		if (arg == "--"+f.Name || arg == "-"+string(f.Short)) && !f.IsBool() && !f.IsCounter() {
			return true
		}
	}
	return slices.ContainsFunc(node.Children, func(n *kong.Node) bool { return takesValue(n, arg) })
}

// environment gives every flag that is a field of Config its environment variable. Other flags have
// none: a variable that is set for a role must not change what a command is asked for. In the help
// the configuration stands behind a command's own flags, and no more of it than the command says.
func environment(k *kong.Kong) error {
	fields := Fields()
	return kong.Visit(k.Model, func(v kong.Visitable, next kong.Next) error {
		n, ok := v.(*kong.Node)
		if a, root := v.(*kong.Application); root {
			n, ok = a.Node, true
		}
		if !ok {
			return next(nil)
		}
		shown, configuration := []string{""}, &kong.Group{Key: "configuration", Title: "Configuration:"}
		if c, ok := n.Target.Addr().Interface().(interface{ Shown() []string }); ok {
			shown = c.Shown()
		}
		hidden, all := 0, 0
		for _, flag := range n.Flags {
			f, ok := fieldOf(fields, flag)
			if ok && len(flag.Envs) == 0 {
				flag.Envs = []string{f.Env}
				flag.Tag.Envs = flag.Envs
			}
			if ok || flag.Target.Type() == reflect.TypeFor[ConfigFile]() {
				flag.Group = configuration
			}
			if ok {
				all++
			}
			if ok && !slices.ContainsFunc(shown, func(s string) bool { return s == "" || s == f.Path || strings.HasPrefix(f.Path, s+".") }) {
				flag.Hidden = true
				hidden++
			}
		}
		if hidden > 0 && all == len(fields) {
			configuration.Title = "Configuration (every other field of docs/configuration.md is a flag too):"
		}
		return next(nil)
	})
}

// fieldOf is the field of Config that a flag is: that with its name and its words, or the one that
// its tag "config" names. A command's own flag may have a field's name (--name of an event) without
// being it.
func fieldOf(fields []Field, flag *kong.Flag) (Field, bool) {
	for _, f := range fields {
		if f.Flag == flag.Name && f.Help == flag.Help || f.Path == flag.Tag.Get("config") {
			return f, true
		}
	}
	return Field{}, false
}

// refused reports whether a master has answered that what it was asked for is wrong in itself.
func refused(err error) bool {
	var p *control.Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// helpOf is the command that was being parsed.
func helpOf(program string, ctx *kong.Context) string {
	if c := ctx.Command(); c != "" {
		return program + " " + c
	}
	return program
}

// Command is the last word of the command that runs, for commands that share a type.
type Command string

// Env is what a command writes to.
type Env struct {
	Stdout, Stderr io.Writer
	Version        string
}

// Role is the main of a program that runs roles from its configuration until it is told to stop.
func Role(name, description, version string, roles Roles) int {
	var grammar struct {
		Configured
		Version kong.VersionFlag `help:"Print the version."`
	}
	description += fmt.Sprintf("\n\nExample:\n  %s --config tungstene.yaml", name)
	p := Program{Name: name, Description: description, Version: version, Grammar: &grammar}
	p.Run = func(ctx context.Context) error {
		return grammar.Run(ctx, roles, version)
	}
	return p.Main(os.Args[1:])
}

// Run runs the roles until the context ends.
func (c *Configured) Run(ctx context.Context, roles Roles, version string) error {
	cfg, err := c.Checked()
	if err != nil {
		return err
	}
	process, err := New(ctx, cfg, roles, Options{Version: version})
	if err != nil {
		return c.Locate(err)
	}
	return process.Run(ctx)
}
