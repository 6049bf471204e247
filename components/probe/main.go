// Probe is what verify runs on every node: a web server that says where it is, and looks up names
// and fetches pages as a pod of that node would.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = 3 * time.Second

// A connection to a Service that kube-proxy has not yet heard of never comes about: the kernel keeps sending
// its packets the first way. So one that takes longer is given up, and verify asks again.
var client = http.Client{Transport: &http.Transport{
	DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
}}

// answer is what every path returns: what was asked of it, or why it could not be had.
type answer struct {
	Pod       string   `json:"pod"`
	Node      string   `json:"node"`
	OK        bool     `json:"ok"`
	Error     string   `json:"error,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Status    int      `json:"status,omitempty"`
	Body      string   `json:"body,omitempty"`
}

// say does one piece of work within the time that a check may take, and writes its answer.
func say(work func(context.Context, *http.Request, *answer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		a := answer{Pod: os.Getenv("POD_NAME"), Node: os.Getenv("NODE_NAME"), OK: true}
		if err := work(ctx, r, &a); err != nil {
			a.OK, a.Error = false, err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	}
}

func here(context.Context, *http.Request, *answer) error { return nil }

func resolve(ctx context.Context, r *http.Request, a *answer) (err error) {
	a.Addresses, err = net.DefaultResolver.LookupHost(ctx, r.URL.Query().Get("name"))
	return err
}

func fetch(ctx context.Context, r *http.Request, a *answer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL.Query().Get("url"), nil)
	if err != nil {
		return err
	}
	// A connection of its own each time: a Service chooses by connection.
	request.Close = true
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	a.Status, a.Body = response.StatusCode, string(body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return err
}

func main() {
	if len(os.Args) != 2 || os.Args[1] != "serve" {
		fmt.Fprintln(os.Stderr, "usage: probe serve")
		os.Exit(2)
	}
	for path, work := range map[string]func(context.Context, *http.Request, *answer) error{
		"/{$}": here, "/healthz": here, "/resolve": resolve, "/fetch": fetch,
	} {
		http.HandleFunc("GET "+path, say(work))
	}
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: patience}
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-stopped.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
