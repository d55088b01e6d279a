// Package front is the gateway's front: Caddy, configured for the sites of a table of routes, and what Caddy lacks for them.
//
// Caddy listens, terminates TLS, issues certificates and proxies. The modules of this package, which Caddy finds by their names,
// add to it the table (handler, permission and handshake matcher), the wake that begins with the ClientHello, the page for those
// who wait, the forwarding of TLS by its SNI, and limits by source and site. Caddy is one for each process, and so is the
// gateway that its modules belong to.
package front
