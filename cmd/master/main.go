// Master runs the control plane with its API and the status page.
package main

import (
	"os"

	"github.com/tungstene/tungstene/pkg/app"
)

// version is set when the program is built.
var version = "dev"

func main() {
	os.Exit(app.Role("master", "The control plane: events, channels, assignment, API and status page.", version, app.Roles{Master: true}))
}
