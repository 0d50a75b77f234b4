package goals_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tungstene/tungstene/pkg/charity/goals"
)

// show writes entries and problems one a line.
func show(entries []goals.Entry, problems []goals.Problem) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %s %d %s", e.Line, e.Category, e.Money.Cents, e.Name)
		if e.Channel != "" {
			b.WriteString(" of " + e.Channel)
		}
		if e.ID != "" {
			b.WriteString(" id " + e.ID)
		}
		if len(e.Links) > 0 {
			b.WriteString(" " + strings.Join(e.Links, " "))
		}
		if e.Accomplished {
			b.WriteString(" accomplished")
		}
		b.WriteString("\n")
	}
	for _, p := range problems {
		b.WriteString("! " + p.String() + "\n")
	}
	return strings.TrimSpace(b.String())
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, format, list, want string }{
		{"plain", "", "100,A song\n1000,Shave", "1 donation 10000 A song\n2 donation 100000 Shave"},
		{"BOM, header, Windows", "", "\ufeffamount,text\r\n100,A song\r\n\r\n", "2 donation 10000 A song"},
		{"header in French, other order", "", "Texte;Montant\nUne chanson;1 000,50 €\n", "2 donation 100050 Une chanson"},
		{"euros with spaces", "", "1 000 €;A song\n10\u202f000,00\u00a0€;B\n€1,000.5;C\n1,50;D", "1 donation 100000 A song\n2 donation 1000000 B\n3 donation 100050 C\n4 donation 150 D"},
		{"tab", "", "1 000\tA, b; c\n2\td", "1 donation 100000 A, b; c\n2 donation 200 d"},
		{"text with commas", "", "100,A, b and c\n200,d", "1 donation 10000 A, b and c\n2 donation 20000 d"},
		{"quoted", "", "\"1 000\",\"A \"\"song\"\", long\"\n\"2 000,50 €\",\"two\nlines\"\n3,z", "1 donation 100000 A \"song\", long\n2 donation 200050 two lines\n4 donation 300 z"},
		{"quotes within", "", "100;Say \"hello\"\n200;\"Hi\" he says\n", "1 donation 10000 Say \"hello\"\n2 donation 20000 \"Hi\" he says"},
		{"comments and empty lines", "", "# mine\n\n100;A\n;;\n# 200;B\n\"#1\";C", "3 donation 10000 A\n! line 6: \"#1\": is no amount in EUR: is not an amount in EUR"},
		{"columns", "", "id;streamer;category;amount;text;links;done\n7;zerator;donation_more_than;100;A;https://a.example/x|http://b.example;oui\n;;incentive;;B;;", "2 donation_more_than 10000 A of zerator id 7 https://a.example/x http://b.example accomplished\n3 incentive 0 B"},
		{"global has no streamer", "", "amount,text,category\n5,A,global", "2 global 500 A of *"},
		{"all that is wrong at once", "", "amount;text;category\nfive;A;\n-5;B;\n0;C;\n5;;\n6;D;raffle\n1.234;E;\n7;ok;", "8 donation 700 ok\n! line 2: \"five\": is no amount in EUR: has no digits\n! line 3: \"-5.00\": its amount must be more than 0\n! line 4: \"0.00\": its amount must be more than 0\n! line 5: a goal needs a text\n! line 6: \"raffle\": is no category of goals: use donation, global, donation_equal, donation_more_than, donation_largest, recurent, incentive\n! line 7: \"1.234\": is no amount in EUR: can be read in two ways: write 1234 or 1.23"},
		{"two ways to read it", "", "1,000,A song\n100,20 pushups\n2,5", "2 donation 10000 20 pushups\n3 donation 200 5\n! line 1: \"1,000\": can be read in two ways: write the amount without a comma in it, or put ; between the columns"},
		{"thousands of nobody knows whom", "", "15.000;A\n1,000 €;B\n€1,000;C", "3 donation 100000 C\n! line 1: \"15.000\": is no amount in EUR: can be read in two ways: write 15000 or 15.00\n! line 2: \"1,000 €\": is no amount in EUR: can be read in two ways: write 1000 or 1.00"},
		{"unknown column", "", "amount;text;mood\n5;A;good", "2 donation 500 A\n! line 1: \"mood\": is no column that is known: amount, text, category, channel, id, links, accomplished"},
		{"no text column", "", "amount;category\n5;global", "! line 1: the header has no column text"},
		{"more columns than the header", "", "text;amount\nA;5;B", "! line 2: \"B\": the line has more columns than the header: quote texts with \";\" in them"},
		{"never closed", "", "5;A\n6;\"B\n7;C", "1 donation 500 A\n3 donation 700 C\n! line 2: \"6;\\\"B\": a quote is opened and never closed"},
		{"no separator", "", "just text\nand more", "! line 1: \"just text\": has no separator: write an amount, a ; or , and a text\n! line 2: \"and more\": has no separator: write an amount, a ; or , and a text"},
		{"links that are none", "", "amount;text;links\n5;A;javascript:alert(1)", "! line 2: \"javascript:alert(1)\": is no address of a page (https://…) of at most 500 bytes"},
		{"neither yes nor no", "", "amount;text;done\n5;A;perhaps", "! line 2: \"perhaps\": is neither yes nor no"},
		{"nothing", "", "\n", "! the list has no goals"},
		{"header alone", "", "amount,text\n", "! the list has no goals"},
		{"UTF-16", "", "\xff\xfe5\x00", "! the list is not UTF-8: save it again as UTF-8 (in a spreadsheet: CSV UTF-8)"},
		{"Windows-1252", "", "5 \x80;A", "! the list is not UTF-8: save it again as UTF-8 (in a spreadsheet: CSV UTF-8)"},
		{"binary", "", "5\x00;A", "! the list is not text"},
		{"format that is none", "xml", "<a/>", "! \"xml\" is no format of goals: use csv, yaml or json"},
		{"control characters", "", "5;A\x07", "! line 1: its text has characters that are none"},

		{"YAML list", "", "- amount: 1 000 €\n  text: A song\n- {amount: 2.5, name: B, category: global, links: [\"https://a.example\"], accomplished: true}\n", "1 donation 100000 A song\n3 global 250 B of * https://a.example accomplished"},
		{"YAML by channel", "", "currency: EUR\ngoals:\n  - {amount: 1e6, text: All, category: global}\nchannels:\n  zerator:\n    - amount: 100\n      text: >-\n        A\n        song\n  \"1234\":\n    - {text: B, category: incentive}\n", "3 global 100000000 All of *\n6 donation 10000 A song of zerator\n11 incentive 0 B of 1234"},
		{"YAML wrong", "", "- {amount: 5}\n- {text: A}\n- {amount: five, text: B}\n- {amount: 5, text: C, mood: good}\n- 7\n- {amount: [5], text: D}\n- {amount: 5, text: E, accomplished: perhaps}\n", "! line 1: a goal needs a text\n! line 2: a goal needs an amount\n! line 3: \"five\": is no amount in EUR: has no digits\n! line 4: \"mood\": is no field of a goal: use amount, text, category, channel, id, links, accomplished\n! line 5: a goal is a mapping, such as {amount: 100, text: A song}\n! line 6: \"amount\": one value is wanted\n! line 7: \"perhaps\": is neither true nor false"},
		{"YAML of another currency", "", "goals: []\ncurrency: USD\nother: 5\n", "! line 2: \"USD\": the event's money is EUR\n! line 3: \"other\": is no field of a list of goals: use goals and channels"},
		{"YAML that is none", "yaml", "goals: [", "! line 1: the list is not YAML: sequence end token ']' not found"},
		{"YAML text", "yaml", "hello", "! line 1: a list of goals is wanted, or a mapping with goals and channels"},

		{"the API's goals", "", `[{"id":"9","name":"A","amount":200000,"category":"donation","reached":true,"accomplished":true,"links":["https://a.example"]},{"id":10,"name":"B","amount":"50","category":"donation_equal","links":[]}]`, "1 donation 200000 A id 9 https://a.example accomplished\n2 donation_equal 50 B id 10"},
		{"the API's overview", "", `{"id":"1","name":"ZEvent","donation_goals":[{"id":"1","name":"All","amount":5,"category":"global"}],"participations":[{"id":"2","streamer":{"twitch_id":44842076,"name":"Adu"},"donation_goals":[{"id":"3","name":"A","amount":5,"category":"recurent"}]},{"user":{"display_name":"Zé"},"donation_goals":[{"id":"4","name":"B","amount":0,"category":"incentive"}]}]}`, "1 global 5 All of * id 1\n2 recurent 5 A of 44842076 id 3\n3 incentive 0 B of Zé id 4"},
		{"the API's events", "", `{"events":[{"id":1,"name":"ZEvent","donation_goals":[{"id":"1","name":"All","amount":5,"category":"global","links":[{"url":"https://a.example"}]}]}]}`, "1 global 5 All of * id 1 https://a.example"},
		{"the API's, wrong", "", `[{"id":"1","name":"A","amount":1.5,"category":"donation"},{"name":"B","amount":5,"category":"raffle"},7,{"name":"C","amount":5,"category":"donation","accomplished":"yes","links":"x"},{"name":"","amount":5},{"name":"D"}]`, "! line 1: \"1.5\": is no amount in cents\n! line 2: \"raffle\": is no category of goals: use donation, global, donation_equal, donation_more_than, donation_largest, recurent, incentive\n! line 3: goal 3 is no object\n! line 4: \"accomplished\": is neither true nor false\n! line 4: \"links\": is no list\n! line 5: a goal needs a text\n! line 6: is no amount in cents"},
		{"no goals in it", "", `{"events":[]}`, "! no goals are found: there is no donation_goals in it"},
		{"not JSON", "", "[{\n\n", "! line 3: the list is not JSON: unexpected EOF"},
		{"something after the end", "", "[] []", "! the list has something after its end"},
		{"empty JSON", "", "[]", "! the list has no goals"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := show(goals.Read([]byte(tc.list), tc.format, "EUR")); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	read := func(list string) map[string]string {
		entries, problems := goals.Read([]byte(list), "", "EUR")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		out := map[string]string{}
		for _, e := range entries {
			out[e.Key] = e.Name
		}
		return out
	}
	before := read("100;A\n200;B\n300;B\n")
	if len(before) != 3 {
		t.Fatalf("%v", before)
	}
	// Another amount and another order are the same goals.
	after := read("amount;text\n201;B\n111;A\n300;B\n500;C")
	for k := range before {
		if _, ok := after[k]; !ok {
			t.Errorf("%s is gone", k)
		}
	}
}

func TestBoundsOfLists(t *testing.T) {
	t.Parallel()
	if got := show(goals.Read([]byte(strings.Repeat("5;A\n", goals.MaxEntries+1)), "", "EUR")); got != "! the list has more than 5000 goals" {
		t.Error(got)
	}
	if got := show(goals.Read(make([]byte, goals.MaxBytes+1), "", "EUR")); !strings.Contains(got, "the most is 1048576") {
		t.Error(got)
	}
	if _, problems := goals.Read([]byte(strings.Repeat("x;A\n", 1000)), "", "EUR"); len(problems) != 201 || problems[200].Message != "and 800 more" {
		t.Error(len(problems))
	}
	if got := show(goals.Read([]byte("5;A"), "", "Euro")); got != "! \"Euro\" is no ISO 4217 code, such as EUR" {
		t.Error(got)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"100,A\n", "amount;text\n1 000 €;\"A\"\"b\"\n", "- {amount: 5, text: A}\n", "goals:\n - {amount: 5}\n", `[{"amount":5,"name":"A"}]`,
		`{"donation_goals":[{"id":1,"amount":5,"name":"A","category":"global"}]}`, "5;\"a\nb", "\ufeff\t\t\n", "channels:\n  a: [{amount: 5, text: b}]",
	} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "yaml")
	}
	f.Fuzz(func(t *testing.T, list []byte, format string) {
		entries, problems := goals.Read(list, format, "EUR")
		if len(entries)+len(problems) == 0 {
			t.Fatal("nothing is said of it")
		}
		keys := map[string]bool{}
		for _, e := range entries {
			if e.Key == "" || e.Name == "" || e.Money.Cents < 0 || e.Money.Cents > goals.MaxCents || e.Money.Currency != "EUR" {
				t.Fatalf("%+v", e)
			}
			keys[e.Channel+"/"+e.Key] = true
		}
	})
}
