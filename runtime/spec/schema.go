package spec

import _ "embed"

//go:generate go test -count=1 -run ^TestSchemaIsCurrent$ . -update

//go:embed site.schema.json
var schema []byte

// Schema gives the JSON Schema (draft 2020-12) of one site, for editors and for checks in other languages. It says what can be
// said of one field; what relates fields to one another, like min up to max, only Parse knows.
func Schema() []byte { return append([]byte(nil), schema...) }
