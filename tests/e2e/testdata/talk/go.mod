// Protocols that Go speaks and Debian has no servers for, pinned apart from what fcnode itself depends on.
module github.com/fcnode/fcnode/tests/e2e/testdata/talk

go 1.26.6

require (
	github.com/coder/websocket v1.8.15
	github.com/quic-go/quic-go v0.63.0
	google.golang.org/grpc v1.83.2
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/quic-go/qpack v0.6.0 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa // indirect
)
