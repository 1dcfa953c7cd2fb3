// Serves a built front. All files are read into memory at the start: no path of a request ever
// reaches the file system. Where a file has a sibling with .gz, that one goes to browsers.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"
)

type file struct {
	data     []byte
	tag      string // an entity tag, quoted
	modified time.Time
	cache    string
}

// site has the files by the path of their address.
type site map[string]*file

func load(dir fs.FS, hashed string) (site, error) {
	s := site{}
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		f := &file{data, fmt.Sprintf(`"%.12x"`, sha256.Sum256(data)), info.ModTime(), "no-cache"}
		forever, err := path.Match(hashed, "/"+name)
		if forever {
			f.cache = "public, max-age=31536000, immutable"
		}
		s["/"+name] = f
		return err
	})
	if err == nil && s["/index.html"] == nil {
		err = errors.New("there is no index.html")
	}
	return s, err
}

// answer remembers the status for the log.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, a := time.Now(), &answer{w, http.StatusOK}
	s.reply(a, r)
	log.Printf("%s %s %d %s", r.Method, r.RequestURI, a.status, time.Since(start))
}

func (s site) reply(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	if s[name] == nil && path.Ext(name) == "" {
		name = "/index.html" // the program in the browser has a page for it
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/health":
		fmt.Fprintln(w, "ok")
	case s[name] == nil:
		http.NotFound(w, r)
	default:
		s.send(name, w, r)
	}
}

func (s site) send(name string, w http.ResponseWriter, r *http.Request) {
	f, header := s[name], w.Header()
	header.Set("Cache-Control", f.cache)
	if zipped := s[name+".gz"]; zipped != nil {
		header.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			header.Set("Content-Encoding", "gzip")
			f = zipped
		}
	}
	header.Set("ETag", f.tag)
	header.Set("Content-Security-Policy", "default-src 'self'")
	header.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, f.modified, bytes.NewReader(f.data))
}

func acceptsGzip(codings string) bool {
	for coding := range strings.SplitSeq(codings, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return weight == "" || strings.Trim(weight, " q=0.") != ""
		}
	}
	return false
}

func run(dir, hashed, port string) error {
	s, err := load(os.DirFS(dir), hashed)
	if err != nil {
		return fmt.Errorf("cannot serve %s: %w", dir, err)
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	log.Printf("%d files on port %s", len(s), port)
	server := &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		// Answers on their way may end; what takes longer is cut off.
		soon, cancel := context.WithTimeout(context.Background(), 800*time.Millisecond)
		defer cancel()
		_ = server.Shutdown(soon)
		return nil
	}
}

func main() {
	log.SetOutput(os.Stdout)
	dir := flag.String("dir", "/srv", "folder with the built front")
	hashed := flag.String("hashed", "/assets/*", "pattern of addresses that browsers may keep forever")
	flag.Parse()
	if err := run(*dir, *hashed, cmp.Or(os.Getenv("PORT"), "8085")); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
