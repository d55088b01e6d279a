// Package strictyaml reads YAML into Go structs the way fcnode wants every file
// read that a person wrote: nothing is ignored, nothing is guessed, and every
// complaint says in which file, line and column, and what is allowed there.
//
// It owns the splitting of a file into documents, the subset of YAML that is
// accepted, the walk over the syntax tree of goccy/go-yaml, and the type of its
// errors. What a field means is known by the packages that own the structs
// (spec, config): they decode with [Document.Decode], then check the values and
// report with [Document.Reject], which finds the position of a field by its
// path ("volumes[1].target").
//
// The subset: mappings, lists and scalars, in block and flow style, comments,
// several documents in a file; and so JSON. Not anchors and aliases (a file of
// 1 KB can stand for gigabytes), tags, merge keys, directives and "? " keys:
// each is refused by name. A mapping has each key once. A field without a value
// is an error, not a default.
//
// Field names come from the `json` tag, so that YAML, JSON and the JSON Schema
// cannot drift apart. The tag `also` names words that people write for the
// field elsewhere (`also:"cmd,args"`); they are only ever suggested, never
// accepted. The tag `alone:"true"` marks the field of a struct for which a
// plain value may be written in place of the mapping.
package strictyaml
