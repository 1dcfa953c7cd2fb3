module example.org/go-web

go 1.24.0

require (
	github.com/go-chi/chi/v5 v5.3.2
	golang.org/x/sync v0.19.0
)
