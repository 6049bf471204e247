// Demo is a web service to try a cluster with: its page says which replica on which node answered, and
// goes on asking, so that one sees requests being shared out and an update passing through.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is what the image was built as; -ldflags -X or the environment set it.
var version = "1"

//go:embed page.html
var page []byte

// who is the answer of /who: who it was that answered.
type who struct {
	Replica string `json:"replica"`
	Node    string `json:"node"`
	Version string `json:"version"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	replica, err := os.Hostname() // a pod's name
	if err != nil {
		return err
	}
	me := who{Replica: replica, Node: os.Getenv("NODE_NAME"), Version: either(os.Getenv("DEMO_VERSION"), version)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /who", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(me)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	server := &http.Server{
		Addr: ":" + either(os.Getenv("PORT"), "8080"),
		// A Service shares out connections, not requests: with one connection a request, every load may be another's.
		Handler:           closing(mux),
		ReadHeaderTimeout: 5 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
		// What was asked is still answered.
		patience, give := context.WithTimeout(context.Background(), 10*time.Second)
		defer give()
		return server.Shutdown(patience)
	}
}

func closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func either(first, second string) string {
	if first != "" {
		return first
	}
	return second
}
