package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// JSONTime is how times are written in JSON and CSV: UTC, milliseconds.
const JSONTime = "2006-01-02T15:04:05.000Z"

var (
	errNesting = errors.New("documents within documents, too deep")
	errText    = errors.New("a string without an end")
)

// AppendJSON appends a document's value as plain JSON: times as text (JSONTime), numbers as numbers, bytes
// in base64. What it is given need not be valid BSON.
func AppendJSON(b []byte, v bson.RawValue) ([]byte, error) {
	return appendJSON(b, bsoncore.Value{Type: bsoncore.Type(v.Type), Data: v.Value}, MaxNesting)
}

// JSON is a document as plain JSON, see AppendJSON.
func JSON(doc bson.Raw) ([]byte, error) {
	return appendJSON(nil, bsoncore.Value{Type: bsoncore.TypeEmbeddedDocument, Data: doc}, MaxNesting)
}

func appendJSON(b []byte, v bsoncore.Value, depth int) ([]byte, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
		return appendDocument(b, v, depth)
	case bsoncore.TypeString:
		text, ok := v.StringValueOK()
		if !ok { // Validate lets one of no length pass
			return nil, errText
		}
		return AppendJSONText(b, text), nil
	case bsoncore.TypeInt32, bsoncore.TypeInt64:
		n, _ := v.AsInt64OK()
		return strconv.AppendInt(b, n, 10), nil
	case bsoncore.TypeDouble:
		return AppendJSONNumber(b, v.Double()), nil
	case bsoncore.TypeBoolean:
		return strconv.AppendBool(b, v.Boolean()), nil
	case bsoncore.TypeDateTime:
		return append(time.UnixMilli(v.DateTime()).UTC().AppendFormat(append(b, '"'), JSONTime), '"'), nil
	case bsoncore.TypeNull, bsoncore.TypeUndefined:
		return append(b, "null"...), nil
	case bsoncore.TypeBinary:
		_, data, _ := v.BinaryOK()
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"'), nil
	default:
		return AppendJSONText(b, v.String()), nil // of types that nothing here writes
	}
}

func appendDocument(b []byte, v bsoncore.Value, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, errNesting
	}
	elements, err := bsoncore.Document(v.Data).Elements()
	if err != nil {
		return nil, err
	}
	open, end := byte('{'), byte('}')
	if v.Type == bsoncore.TypeArray {
		open, end = '[', ']'
	}
	b = append(b, open)
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		if v.Type == bsoncore.TypeEmbeddedDocument {
			b = append(AppendJSONText(b, e.Key()), ':')
		}
		if b, err = appendJSON(b, e.Value(), depth-1); err != nil {
			return nil, err
		}
	}
	return append(b, end), nil
}

// AppendJSONText appends a JSON string. HTML's characters stay as they are; what is no UTF-8 becomes the
// replacement character.
func AppendJSONText(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// AppendJSONNumber appends a number; null for infinity and what is no number, which JSON has no word for.
func AppendJSONNumber(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}
