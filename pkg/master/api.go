package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tungstene/tungstene/pkg/control"
	"github.com/tungstene/tungstene/pkg/record"
	"github.com/tungstene/tungstene/pkg/store"
)

const (
	// maxBody bounds requests: 10,000 addresses of channels, or a heartbeat of 5,000 channels with
	// their rates.
	maxBody = 1 << 20
	// bodyTimeout bounds the reading of a request.
	bodyTimeout = 10 * time.Second

	roleOperator  = "operator"
	roleCollector = "collector"
)

// HTTPServer is a server with bounds against clients that are slow, or many, or do not mean well.
// A handler that streams sets its own write deadline through http.ResponseController.
func HTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

// OpenAPI is the API's description as indented JSON.
func OpenAPI() ([]byte, error) {
	m := &Master{}
	m.newHandler()
	b, err := json.MarshalIndent(m.api.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI: %w", err)
	}
	return append(b, '\n'), nil
}

func (m *Master) newHandler() http.Handler {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Tungstene master", "1")
	cfg.Info.Description = "Events, channels and collectors. Errors are problem details (RFC 9457). " +
		"Every call needs a bearer token: heartbeats that of a collector, all else that of an operator."
	cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", nil
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		roleOperator:  {Type: "http", Scheme: "bearer", Description: "A token of the operators' token file."},
		roleCollector: {Type: "http", Scheme: "bearer", Description: "A token of the collectors' token file."},
	}
	m.api = humago.New(mux, cfg)
	m.api.UseMiddleware(m.observe, m.authorize)
	m.routes()
	m.privacyRoutes()
	m.repairRoutes()
	m.charityRoutes()
	return m.guard(mux)
}

// guard holds what goes for every request: no panic ends in silence, nothing takes for ever, and
// paths that nobody serves are answered as problems too.
func (m *Master) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					panic(v)
				}
				m.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				writeProblem(w, http.StatusInternalServerError, "the master failed at this request; its log says more")
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		_, pattern := mux.Handler(r)
		if pattern == "" {
			status, detail := http.StatusNotFound, "nothing is served at "+r.URL.Path
			probe := &http.Request{Method: http.MethodGet, URL: r.URL, Host: r.Host}
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
				probe.Method = method
				if _, p := mux.Handler(probe); p != "" {
					status, detail = http.StatusMethodNotAllowed, r.Method+" is not served at "+r.URL.Path
					h.Add("Allow", method)
				}
			}
			writeProblem(w, status, detail)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), max(m.cfg.RequestTimeout, m.limits[pattern]))
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	b, err := json.Marshal(control.Problem{Status: status, Title: http.StatusText(status), Detail: detail})
	if err == nil {
		_, err = w.Write(b)
	}
	_ = err // the client is gone; there is nobody to tell
}

// observe counts and times requests.
func (m *Master) observe(ctx huma.Context, next func(huma.Context)) {
	start := time.Now()
	next(ctx)
	op := ctx.Operation().OperationID
	m.metrics.requests.WithLabelValues(op, strconv.Itoa(ctx.Status())).Inc()
	m.metrics.seconds.WithLabelValues(op).Observe(time.Since(start).Seconds())
}

// authorize lets a request pass that carries a token of the operation's role. It comes before the
// body is read.
func (m *Master) authorize(ctx huma.Context, next func(huma.Context)) {
	role := roleOf(ctx.Operation())
	if role == "" {
		next(ctx)
		return
	}
	token, ok := bearer(ctx.Header("Authorization"))
	if !ok {
		m.deny(ctx, http.StatusUnauthorized, "a bearer token is needed: send the header Authorization: Bearer TOKEN")
		return
	}
	operator, collector := m.operators.holds(token), m.collectors.holds(token)
	switch {
	case role == roleOperator && operator, role == roleCollector && collector:
		next(ctx)
	case operator || collector:
		m.deny(ctx, http.StatusForbidden, "this needs the token of "+article(role)+", not that of the other role")
	default:
		m.deny(ctx, http.StatusUnauthorized, "the token is not valid (any more)")
	}
}

func article(role string) string {
	if role == roleOperator {
		return "an operator"
	}
	return "a collector"
}

func (m *Master) deny(ctx huma.Context, status int, detail string) {
	if status == http.StatusUnauthorized {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="tungstene"`)
	}
	m.log.Warn("request denied", "operation", ctx.Operation().OperationID, "remote", ctx.RemoteAddr(), "status", status)
	if err := huma.WriteErr(m.api, ctx, status, detail); err != nil {
		m.log.Debug("cannot answer", "remote", ctx.RemoteAddr(), "err", err)
	}
}

func roleOf(op *huma.Operation) string {
	for _, s := range op.Security {
		for role := range s {
			return role
		}
	}
	return ""
}

func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// problem turns an error into what the API answers.
func (m *Master) problem(err error) error {
	if err == nil {
		return nil
	}
	var (
		state *stateError
		value *valueError
		made  huma.StatusError
	)
	switch {
	case errors.As(err, &made):
		return made
	case errors.As(err, &state):
		return huma.Error409Conflict(state.msg)
	case errors.As(err, &value):
		return huma.Error422UnprocessableEntity("the request has a value that can't be used",
			&huma.ErrorDetail{Message: value.msg, Location: value.field})
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	default:
		// The store did not answer, or a key can't be read: another master may do better.
		m.log.Warn("request failed", "err", err)
		return huma.Error503ServiceUnavailable(err.Error())
	}
}

type output[T any] struct{ Body T }

type slugInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
}

type channelInput struct {
	Slug    string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Channel string `path:"channel" maxLength:"200" doc:"The channel's Twitch id or login"`
}

type memberInput struct {
	Role string `path:"role" maxLength:"63" doc:"The member's role"`
	Name string `path:"name" maxLength:"63" doc:"The member's name"`
}

type collectorInput struct {
	Name string `path:"name" maxLength:"63" doc:"The collector"`
}

type heartbeatInput struct {
	Name    string `path:"name" maxLength:"63" doc:"The collector"`
	RawBody []byte
}

type importInput struct {
	Slug        string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte
}

type patchInput struct {
	Slug string `path:"slug" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"lower-case letters, digits and dashes" doc:"The event"`
	Body control.EventPatch
}

func operation(id, method, path, summary, role string, errs ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary,
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Security: []map[string][]string{{role: {}}},
		Errors:   append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable}, errs...),
	}
}

// serve registers an operation of operators.
func serve[I, O any](m *Master, op huma.Operation, do func(ctx context.Context, in *I) (O, error)) {
	huma.Register(m.api, op, func(ctx context.Context, in *I) (*output[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, m.problem(err)
		}
		return &output[O]{Body: out}, nil
	})
}

func (m *Master) routes() {
	get, post := http.MethodGet, http.MethodPost
	type none struct{}

	serve(m, operation("list-events", get, "/v1/events", "List events", roleOperator),
		func(ctx context.Context, _ *none) ([]record.Event, error) { return m.events(ctx) })
	create := operation("create-event", post, "/v1/events", "Create an event, as a draft, and its pseudonym key", roleOperator, http.StatusConflict)
	create.DefaultStatus = http.StatusCreated
	serve(m, create, func(ctx context.Context, in *struct{ Body control.NewEvent }) (record.Event, error) {
		return m.createEvent(ctx, in.Body)
	})
	serve(m, operation("get-event", get, "/v1/events/{slug}", "Read an event", roleOperator, http.StatusNotFound),
		func(ctx context.Context, in *slugInput) (record.Event, error) { return m.event(ctx, in.Slug) })
	serve(m, operation("change-event", http.MethodPatch, "/v1/events/{slug}", "Change an event, as far as its state allows", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *patchInput) (record.Event, error) {
			if in.Body.End != nil {
				if err := m.notFreezing(ctx, in.Slug); err != nil {
					return record.Event{}, err
				}
			}
			return m.changeEvent(ctx, in.Slug, func(e record.Event) (record.Event, error) {
				return patch(e, in.Body, m.cfg.Clock.Now())
			})
		})
	for a, summary := range map[control.Action]string{
		control.Schedule:   "Schedule a draft: it goes live by itself at its start",
		control.Unschedule: "Take a scheduled event back: it is a draft again",
		control.Start:      "Take an event live now; an ended one again, when its end lies ahead",
		control.Stop:       "End a live event now",
	} {
		serve(m, operation(string(a)+"-event", post, "/v1/events/{slug}/"+string(a), summary, roleOperator, http.StatusNotFound, http.StatusConflict),
			func(ctx context.Context, in *slugInput) (record.Event, error) {
				if a == control.Start {
					if err := m.notFreezing(ctx, in.Slug); err != nil {
						return record.Event{}, err
					}
				}
				return m.changeEvent(ctx, in.Slug, func(e record.Event) (record.Event, error) {
					return act(e, a, m.cfg.Clock.Now())
				})
			})
	}

	serve(m, operation("list-channels", get, "/v1/events/{slug}/channels", "List the channels of an event", roleOperator, http.StatusNotFound),
		func(ctx context.Context, in *slugInput) ([]record.Channel, error) {
			if _, err := m.event(ctx, in.Slug); err != nil {
				return nil, err
			}
			return m.channelsOf(ctx, in.Slug)
		})
	imports := operation("import-channels", post, "/v1/events/{slug}/channels", "Add a list of logins to an event", roleOperator, http.StatusNotFound, http.StatusConflict)
	imports.Description = "Text has one login a line, # begins a comment. CSV has a column login, channel, twitch or name, " +
		"or the logins in its first column. JSON is an array of logins, or of objects with one of these names. " +
		"Logins may be written with @, in capitals, or as addresses on twitch.tv. Lines that are no logins are reported and left out."
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	imports.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"text/plain": text, "text/csv": text,
		"application/json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{}}},
	}}
	imports.SkipValidateBody = true // parseLogins does it, and says the line
	serve(m, imports, func(ctx context.Context, in *importInput) (control.Imported, error) {
		return m.importChannels(ctx, in.Slug, in.ContentType, in.RawBody)
	})
	serve(m, operation("resolve-channels", post, "/v1/events/{slug}/channels/resolve", "Look up all channels of an event at Twitch now", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *slugInput) (control.Resolved, error) {
			e, err := m.event(ctx, in.Slug)
			if err == nil {
				err = editable(e)
			}
			if err != nil {
				return control.Resolved{}, err
			}
			res, err := m.resolveChannels(ctx, in.Slug, func(record.Channel) bool { return true })
			return res.Resolved, err
		})
	huma.Register(m.api, operation("remove-channel", http.MethodDelete, "/v1/events/{slug}/channels/{channel}", "Take a channel out of an event; what was recorded stays", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *channelInput) (*struct{}, error) {
			return nil, m.problem(m.removeChannel(ctx, in.Slug, in.Channel))
		})

	beat := operation("heartbeat", post, "/v1/collectors/{name}/heartbeat", "Tell how a collector is doing and get its assignment", roleCollector)
	beat.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: m.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[control.Heartbeat](), true, "Heartbeat")},
	}}
	beat.SkipValidateBody = true // a newer collector may say more
	serve(m, beat, func(ctx context.Context, in *heartbeatInput) (control.Answer, error) {
		h, err := parseHeartbeat(in.Name, in.RawBody)
		if err != nil {
			return control.Answer{}, err
		}
		return m.heartbeat(ctx, h)
	})

	serve(m, operation("list-collectors", get, "/v1/collectors", "List collectors", roleOperator),
		func(ctx context.Context, _ *none) ([]control.Collector, error) { return m.listCollectors(ctx) })
	huma.Register(m.api, operation("forget-collector", http.MethodDelete, "/v1/collectors/{name}", "Say that a collector won't come back: its channels go to others", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *collectorInput) (*struct{}, error) {
			return nil, m.problem(m.forgetCollector(ctx, in.Name))
		})
	serve(m, operation("list-members", get, "/v1/members", "List every running role with its last heartbeat", roleOperator),
		func(ctx context.Context, _ *none) ([]control.Member, error) { return m.members(ctx) })
	huma.Register(m.api, operation("forget-member", http.MethodDelete, "/v1/members/{role}/{name}", "Say that a consumer, rollup, custody or master won't come back", roleOperator, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *memberInput) (*struct{}, error) {
			return nil, m.problem(m.forgetMember(ctx, in.Role, in.Name))
		})
	serve(m, operation("list-assignments", get, "/v1/assignments", "List what each collector is to read", roleOperator),
		func(ctx context.Context, _ *none) ([]control.AssignmentView, error) { return m.listAssignments(ctx) })
	serve(m, operation("health", get, "/v1/health", "Tell how the control plane is doing", roleOperator),
		func(ctx context.Context, _ *none) (control.Health, error) { return m.health(ctx) })
}

func (m *Master) listCollectors(ctx context.Context) ([]control.Collector, error) {
	members, err := m.members(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := m.assignments(ctx)
	if err != nil {
		return nil, err
	}
	drains, err := m.drains(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]control.Assignment, len(docs))
	for _, a := range docs {
		byName[a.Collector] = a
	}
	list := []control.Collector{}
	for _, c := range members {
		if c.Role != control.RoleCollector || c.Collector == nil {
			continue
		}
		a := byName[c.Name]
		v := control.Collector{
			Name: c.Name, Node: c.Node, Version: c.Version, Started: c.Started, Seen: c.Seen,
			State: m.stateOf(c), Capacity: c.Collector.Capacity, Assigned: len(a.Channels),
			Joined: len(c.Collector.Joined), Rate: c.Collector.Status.Rate, Conditions: c.Conditions,
			Current:       c.Collector.Epoch == a.Epoch && c.Collector.Revision == a.Revision,
			Waiting:       c.Collector.Status.Waiting,
			OutboxBatches: c.Collector.Status.OutboxBatches, OutboxBytes: c.Collector.Status.OutboxBytes,
			Sources: c.Collector.Status.Sources,
		}
		if _, v.Drained = drains[c.Name]; v.Drained && v.State == control.CollectorAlive {
			v.State = control.CollectorLeaving
		}
		if v.Conditions == nil {
			v.Conditions = []control.Condition{}
		}
		list = append(list, v)
	}
	return list, nil
}

// stateOf judges for people to read, by the clocks of the masters; the leader judges by its own.
func (m *Master) stateOf(c control.Member) string {
	switch {
	case time.Since(c.Seen) > m.cfg.HeartbeatTimeout:
		return control.CollectorSilent
	case c.Collector.Leaving:
		return control.CollectorLeaving
	default:
		return control.CollectorAlive
	}
}

func (m *Master) forgetCollector(ctx context.Context, name string) error {
	list, err := m.listCollectors(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Name != name {
			continue
		}
		if c.State != control.CollectorSilent {
			return conflict("collector %s is %s: stop it first", name, c.State)
		}
		for _, coll := range [...]store.Collection{store.Drains, store.Members} {
			id := name
			if coll == store.Members {
				id = memberID(control.RoleCollector, name)
			}
			if _, err := m.cfg.Store.DeleteIf(ctx, coll, id, "name", name); err != nil {
				return fmt.Errorf("forget collector %s: %w", name, err)
			}
		}
		m.log.Info("collector forgotten", "collector", name)
		m.nudge(m.wake)
		return nil
	}
	return absent("there is no collector %s", name)
}

// forgetMember takes note that a member won't come back: nobody waits for it or tells of it any more.
func (m *Master) forgetMember(ctx context.Context, role, name string) error {
	if role == control.RoleCollector {
		return m.forgetCollector(ctx, name) // its channels go to others
	}
	members, err := m.members(ctx)
	if err != nil {
		return err
	}
	id := memberID(role, name)
	for _, c := range members {
		if c.ID != id {
			continue
		}
		if !c.Left && time.Since(c.Seen) <= max(silentAfter, 3*m.cfg.MemberInterval) {
			return conflict("%s %s is alive: stop it first", role, name)
		}
		if _, err := m.cfg.Store.DeleteIf(ctx, store.Members, id, "run", c.Run); err != nil {
			return fmt.Errorf("forget %s %s: %w", role, name, err)
		}
		m.log.Info("member forgotten", "member", id)
		return nil
	}
	return absent("there is no %s %s", role, name)
}

func (m *Master) listAssignments(ctx context.Context) ([]control.AssignmentView, error) {
	docs, err := m.assignments(ctx)
	if err != nil {
		return nil, err
	}
	list := []control.AssignmentView{}
	for _, a := range docs {
		v := control.AssignmentView{
			Collector: a.Collector, Epoch: a.Epoch, Revision: a.Revision,
			Events: []string{}, Channels: a.Channels, Budget: a.Budget,
		}
		for _, e := range a.Events {
			v.Events = append(v.Events, e.Slug)
		}
		if v.Channels == nil {
			v.Channels = []control.AssignedChannel{}
		}
		list = append(list, v)
	}
	return list, nil
}

func (m *Master) health(ctx context.Context) (control.Health, error) {
	out := control.Health{Master: m.cfg.Name, Conditions: []control.Condition{}}
	if err := m.cfg.Store.Check(ctx); err != nil {
		return out, fmt.Errorf("the store does not answer: %w", err)
	}
	members, err := m.members(ctx)
	if err != nil {
		return out, err
	}
	for _, c := range members {
		switch {
		case c.Left:
			continue
		case c.Role == control.RoleMaster && time.Since(c.Seen) <= 3*m.cfg.MemberInterval:
			if c.Master != nil && c.Master.Leader {
				out.Leader = c.Name
			}
		case c.Role == control.RoleCollector && c.Collector != nil && m.stateOf(c) != control.CollectorSilent:
			out.Collectors++
		case c.Role != control.RoleMaster && c.Role != control.RoleCollector && time.Since(c.Seen) <= max(silentAfter, 3*m.cfg.MemberInterval):
		default:
			continue
		}
		out.Conditions = append(out.Conditions, c.Conditions...)
	}
	out.OK = out.Leader != "" && len(out.Conditions) == 0
	return out, nil
}
