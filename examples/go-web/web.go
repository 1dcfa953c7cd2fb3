package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// failure is an error that is told to the client with its status.
type failure struct {
	status int
	text   string
}

func (f failure) Error() string { return f.text }

func routes(fetcher *fetcher) http.Handler {
	router := chi.NewRouter()
	router.Use(logged, middleware.Recoverer)
	router.Get("/health", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	router.Get("/greet/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello, %s\n", chi.URLParam(r, "name"))
	})
	router.Get("/fetch", func(w http.ResponseWriter, r *http.Request) {
		report, err := fetcher.fetch(r.Context(), r.URL.Query().Get("url"))
		var failed failure
		switch {
		case err == nil:
			answer(w, http.StatusOK, report)
		case errors.As(err, &failed):
			answer(w, failed.status, map[string]string{"error": failed.text})
		default:
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		}
	})
	return router
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that went away is in the log already: its request has been served.
	_ = json.NewEncoder(w).Encode(value)
}

// logged writes one line for each request.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(wrapped, r)
		slog.Info("request", "method", r.Method, "path", r.URL.Path, "status", wrapped.Status(),
			"bytes", wrapped.BytesWritten(), "duration", time.Since(begin))
	})
}
