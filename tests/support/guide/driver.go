// Runs the guide's Go: driver KEY ID TIMESTAMP SIGNATURES <body
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"guide/webhook"
)

func main() {
	header := http.Header{}
	for place, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		header.Set(name, os.Args[place+2])
	}
	body, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = webhook.Verify(header, body, os.Args[1])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
