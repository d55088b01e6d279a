// Package api is the way into a running node: HTTP with JSON bodies on a unix socket.
//
// It owns the types on the wire, the errors on the wire, the server that turns
// requests into calls of a [Backend], and the [Client] that the command line uses.
// It decides nothing: what a call means is the backend's business (package node).
//
// The protocol itself is described in docs/api.md. In short:
//
//   - Everything lives below /v1; field names are camelCase, as in specs; times are RFC
//     3339 in UTC; durations are integers in nanoseconds and end in Ns; memory is in
//     bytes and ends in Bytes; CPU is in cores.
//   - Events and logs are streams of JSON lines, which end cleanly (last HTTP chunk)
//     or with one {"error": …} line.
//   - exec upgrades its connection, and file descriptors travel over it
//     (SCM_RIGHTS): without a terminal the client's own stdio goes to the process,
//     with one the master of the terminal comes to the client. The daemon is never
//     in the path of the data.
//   - An error is {"error": {"code", "message", "hint", "details"}}; the codes are
//     listed at [Code] and are the same values on both ends, so that
//     errors.Is(err, api.ErrNotFound) holds on the client as it did in the backend.
package api
