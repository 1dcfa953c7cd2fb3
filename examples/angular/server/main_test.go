package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestAnswers(t *testing.T) {
	s, err := load(fstest.MapFS{
		"index.html":          {Data: []byte("a page"), ModTime: time.Unix(1e9, 0)},
		"assets/a-1234.js":    {Data: []byte("plain")},
		"assets/a-1234.js.gz": {Data: []byte("zipped")},
	}, "/assets/*")
	if err != nil {
		t.Fatal(err)
	}
	tag := s["/assets/a-1234.js"].tag
	for _, c := range []struct{ ask, header, value, want string }{
		{"GET /", "", "", "200 OK: a page"},
		{"GET /walks/lake", "", "", "200 OK: a page"},
		{"GET /assets/../../etc/passwd.txt", "", "", "404 Not Found: 404 page not found\n"},
		{"GET /assets/a-1234.js", "Accept-Encoding", "br, gzip;q=0.5", "200 OK: zipped"},
		{"GET /assets/a-1234.js", "Accept-Encoding", "gzip;q=0.0", "200 OK: plain"},
		{"GET /assets/a-1234.js", "If-None-Match", tag, "304 Not Modified: "},
		{"GET /", "If-Modified-Since", "Sun, 09 Sep 2001 01:46:40 GMT", "304 Not Modified: "},
		{"GET /health", "", "", "200 OK: ok\n"},
		{"POST /", "", "", "405 Method Not Allowed: method not allowed\n"},
	} {
		method, target, _ := strings.Cut(c.ask, " ")
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, target, nil)
		r.Header.Set(c.header, c.value)
		s.ServeHTTP(w, r)
		if got := w.Result().Status + ": " + w.Body.String(); got != c.want {
			t.Errorf("%s with %q: %q, want %q", c.ask, c.value, got, c.want)
		}
	}
}
