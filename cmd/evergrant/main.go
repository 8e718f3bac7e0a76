// Command evergrant keeps rotating OAuth refresh tokens alive: it saves the next
// one before it delivers anything.
package main

import (
	"os"

	"evergrant/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
