// go-web greets people, and reports how an HTTPS server answers and who vouches for it.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// stopWithin is how long requests may go on after the program is asked to stop.
const stopWithin = 700 * time.Millisecond

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ctx, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer forget()
	if err := run(ctx, port()); err != nil {
		slog.Error("ended", "cause", err)
		os.Exit(1)
	}
	slog.Info("stopped")
}

func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "8081"
}

// run serves until ctx is done.
func run(ctx context.Context, port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	slog.Info("listening", "address", listener.Addr())
	server := &http.Server{Handler: routes(newFetcher()), ReadHeaderTimeout: 5 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if err := server.Shutdown(patience); err != nil {
			return server.Close()
		}
		return nil
	})
	return group.Wait()
}
