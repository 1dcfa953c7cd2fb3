// Command front serves the React files and passes requests to /api/ on to the back.
//
//	front           serve
//	front health    ask a front that runs here; exit code 0 or 1
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const site = "/site"

func main() {
	log.SetFlags(log.Ltime)
	log.SetPrefix("front: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	port := variable("PORT", "8087")
	if len(os.Args) > 1 && os.Args[1] == "health" {
		return health(port)
	}
	back, err := url.Parse(variable("BACK_URL", "http://127.0.0.1:8088"))
	if err != nil || back.Host == "" {
		return fmt.Errorf("BACK_URL is `%s`, which is no address like http://back:8088", os.Getenv("BACK_URL"))
	}
	server := &http.Server{
		Addr:              ":" + port,
		Handler:           logged(routes(back)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
	}
	return serve(server)
}

// serve ends at SIGTERM or Ctrl-C, and lets requests finish for a moment.
func serve(server *http.Server) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	listener, err := net.Listen("tcp", server.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %s is in use by another program; set PORT to a free one", server.Addr[1:])
	}
	if err != nil {
		return err
	}
	log.Printf("listening on port %s", server.Addr[1:])
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		log.Print("stopping")
		moment, cancel := context.WithTimeout(context.Background(), 800*time.Millisecond)
		defer cancel()
		if err := server.Shutdown(moment); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return server.Close()
	}
}

func routes(back *url.URL) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("/health", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, "ok")
	})
	routes.Handle("/api/", proxy(back))
	routes.Handle("/", files())
	return routes
}

func proxy(back *url.URL) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(back)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 20 * time.Second
	proxy.Transport = transport
	proxy.ErrorHandler = func(answer http.ResponseWriter, request *http.Request, err error) {
		log.Printf("the back at %s does not answer: %v", back, err)
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusBadGateway)
		fmt.Fprintln(answer, `{"error":"the back does not answer"}`)
	}
	return proxy
}

// files serves what Vite has built. Names below /assets/ change with their content, so browsers may keep those.
func files() http.Handler {
	files := http.FileServer(http.Dir(site))
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		header := answer.Header()
		header.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
		header.Set("X-Content-Type-Options", "nosniff")
		if strings.HasPrefix(request.URL.Path, "/assets/") {
			header.Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			header.Set("Cache-Control", "no-cache")
		}
		files.ServeHTTP(answer, request)
	})
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func logged(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		start := time.Now()
		recorder := &recorder{answer, http.StatusOK}
		handler.ServeHTTP(recorder, request)
		log.Printf("%s %s %d %s", request.Method, request.URL.Path, recorder.status, time.Since(start).Round(time.Microsecond))
	})
}

func health(port string) error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/health answers %s", answer.Status)
	}
	return nil
}

func variable(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
