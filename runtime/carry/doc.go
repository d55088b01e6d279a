// Package carry makes site specs of what other tools run: services of compose
// files, and containers as podman and docker inspect them.
//
// It owns the knowledge of what each of their settings means here. What a spec
// cannot say, or says otherwise, is a [Note] with its line and the reason: no
// setting is left out in silence. Compose files are read by compose-go, which is
// what docker compose reads them with.
package carry
