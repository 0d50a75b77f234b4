package charity_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gift is a donation at the tests' team.
type gift struct {
	id      int
	cents   int
	at      time.Time
	member  string // slug; empty: none
	comment string
	donor   string
	broken  bool
}

// team is a Streamlabs team: pages of size rows that advance by step.
type team struct {
	mu         sync.Mutex
	size, step int
	gifts      []gift
	hidden     int         // how many of the newest are not listed yet
	fail       map[int]int // status, by request
	requests   int
}

func (s *team) add(g ...gift) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range g {
		if one.id == 0 {
			one.id = len(s.gifts) + 1
		}
		s.gifts = append(s.gifts, one)
	}
}

// many adds n donations of a euro, one a second from a time on.
func (s *team) many(n int, from time.Time) {
	for i := range n {
		s.add(gift{cents: 100, at: from.Add(time.Duration(i) * time.Second), member: "aducine", donor: "donor " + strconv.Itoa(i)})
	}
}

func (s *team) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if status := s.fail[s.requests]; status != 0 {
		w.WriteHeader(status)
		return
	}
	if r.URL.Path != "/api/v1/teams/42/donations" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	list := slices.Clone(s.gifts[:len(s.gifts)-s.hidden])
	if r.URL.Query().Get("order") == "desc" {
		slices.Reverse(list)
	}
	from := min((page-1)*s.step, len(list))
	var rows []string
	for _, g := range list[from:min(from+s.size, len(list))] {
		id := strconv.Itoa(g.id)
		if g.id%2 == 0 {
			id = strconv.Quote(id)
		}
		cents := strconv.Itoa(g.cents)
		if g.broken {
			cents = `"a lot"`
		}
		member := ""
		if g.member != "" {
			member = fmt.Sprintf(`,"member":{"id":"m-%s","user":{"display_name":"%s","slug":"%s"}}`, g.member, strings.ToUpper(g.member), g.member)
		}
		rows = append(rows, fmt.Sprintf(`{"id":%s,"donation":{"id":%s,"display_name":%q,"converted_amount":%s,"converted_currency":"EUR","created_at":%q,"comment":{"text":%q},"country":"France"}%s}`,
			id, id, g.donor, cents, g.at.UTC().Format("2006-01-02T15:04:05+00:00"), g.comment, member))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, "[%s]", strings.Join(rows, ","))
}

const teamSource = `
  - name: team
    kind: streamlabs
    url: http://team.example/api/v1
    team: 42
`
