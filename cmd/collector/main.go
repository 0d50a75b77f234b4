// Collector runs one collector.
package main

import (
	"os"

	"github.com/tungstene/tungstene/pkg/app"
)

// version is set when the program is built.
var version = "dev"

func main() {
	os.Exit(app.Role("collector", "A slave: reads chat, polls Helix, pushes records into the queue.", version, app.Roles{Collectors: 1}))
}
