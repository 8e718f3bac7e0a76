module evergrant/e2e/gitea/runner

go 1.26.0

require (
	code.gitea.io/actions-proto-go v0.4.1
	connectrpc.com/connect v1.18.1
	google.golang.org/protobuf v1.36.6
)
