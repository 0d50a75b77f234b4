package money

import (
	"strconv"
	"strings"
)

const (
	narrow  = "\u202f" // narrow no-break space, between groups in French
	noBreak = "\u00a0" // no-break space, between number and sign
)

// digits are the minor units of ISO 4217 that are not 2.
//
//nolint:gochecknoglobals // a table
var digits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0,
	"UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// signs are how the languages write a currency (CLDR); one that is not here is written as its code.
//
//nolint:gochecknoglobals // a table
var signs = map[string]map[string]string{
	French: {
		"EUR": "€", "USD": "$US", "GBP": "£GB", "CAD": "$CA", "AUD": "$AU", "NZD": "$NZ", "JPY": "JPY", "CHF": "CHF",
		"BRL": "R$", "MXN": "$MX", "INR": "₹", "KRW": "₩", "ILS": "₪", "VND": "₫", "XPF": "FCFP",
	},
	English: {
		"EUR": "€", "USD": "$", "GBP": "£", "CAD": "CA$", "AUD": "A$", "NZD": "NZ$", "JPY": "¥", "BRL": "R$", "MXN": "MX$",
		"INR": "₹", "KRW": "₩", "ILS": "₪", "VND": "₫", "TWD": "NT$", "HKD": "HK$", "XPF": "CFPF",
	},
}

// split writes the absolute value of an amount as digits before and after the point.
func split(cents int64, decimals int) (sign, whole, rest string) {
	u := uint64(cents)
	if cents < 0 {
		sign, u = "-", -u
	}
	s := strconv.FormatUint(u, 10)
	if n := decimals + 1 - len(s); n > 0 {
		s = strings.Repeat("0", n) + s
	}
	return sign, s[:len(s)-decimals], s[len(s)-decimals:]
}

func format(cents int64, currency, language string, decimals bool) string {
	if language != French {
		language = English
	}
	d, _ := Digits(currency)
	minus, whole, rest := split(cents, d)
	separator, point := ",", "."
	if language == French {
		separator, point = narrow, ","
	}
	var b strings.Builder
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(separator)
		}
		b.WriteByte(whole[i])
	}
	if decimals && d > 0 {
		b.WriteString(point + rest)
	} else if !decimals && whole == "0" {
		minus = ""
	}
	sign, ok := signs[language][currency]
	if !ok {
		sign = currency
	}
	if sign == "" {
		return minus + b.String()
	}
	if language == French {
		return minus + b.String() + noBreak + sign
	}
	if last := sign[len(sign)-1]; last >= 'A' && last <= 'Z' {
		sign += noBreak
	}
	return minus + sign + b.String()
}
