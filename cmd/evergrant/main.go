// Command evergrant keeps rotating OAuth refresh tokens alive, and never loses
// one.
package main

import (
	"os"

	"evergrant/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
