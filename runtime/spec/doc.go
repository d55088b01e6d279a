// Package spec owns what an operator writes about a site: the types, the reading of the YAML, the defaults, the checks, the
// digest and the JSON Schema. It knows nothing of the machine it runs on: whether an image exists, an address lies in the node's
// prefix or a volume's source is there is asked when the site is applied or started.
//
// Every field that is accepted is acted upon. A field of a later version is refused here until then.
//
// One form everywhere: the canonical JSON of a Site ([encoding/json], defaults filled in) is what the node stores, what the API
// sends and, JSON being YAML, a spec that Parse reads to the same Site.
package spec
