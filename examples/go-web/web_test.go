package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func ask(t *testing.T, fetcher *fetcher, path string) (int, string) {
	t.Helper()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	recorder := httptest.NewRecorder()
	routes(fetcher).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, recorder.Body.String()
}

func TestAnswers(t *testing.T) {
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/health":                        {200, "ok"},
		"/greet/you":                     {200, "Hello, you"},
		"/fetch":                         {400, "no address"},
		"/fetch?url=http://localhost/":   {400, "does not begin with https://"},
		"/fetch?url=https:///":           {400, "does not begin with https://"},
		"/fetch?url=%25":                 {400, "is no address"},
		"/fetch?url=https://127.0.0.1:1": {502, "cannot ask 127.0.0.1"},
		"/nothing":                       {404, ""},
	} {
		status, text := ask(t, newFetcher(), path)
		if status != want.status || !strings.Contains(text, want.text) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

func TestFetch(t *testing.T) {
	server := httptest.NewTLSServer(http.RedirectHandler("http://elsewhere/", http.StatusFound))
	defer server.Close()
	path := "/fetch?url=" + url.QueryEscape(server.URL)
	if status, text := ask(t, newFetcher(), path); status != 502 || !strings.Contains(text, "SSL_CERT_FILE") {
		t.Errorf("an unknown authority: %d %s", status, text)
	}
	knowing := newFetcher()
	knowing.client.Transport = server.Client().Transport
	status, text := ask(t, knowing, path)
	if status != 200 || !strings.Contains(text, `"status":302`) || !strings.Contains(text, `"issuer":"O=Acme Co"`) {
		t.Errorf("a known authority: %d %s", status, text)
	}
}
