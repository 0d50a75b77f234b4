// Consumer runs the store writer and the rollup.
package main

import (
	"os"

	"github.com/tungstene/tungstene/pkg/app"
)

// version is set when the program is built.
var version = "dev"

func main() {
	os.Exit(app.Role("consumer", "Stores records, and counts them into minute, hour and event documents.", version, app.Roles{Consumer: true}))
}
