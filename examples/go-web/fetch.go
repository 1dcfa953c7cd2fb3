package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// report is what a server answered, and who says that it is the one that was asked for.
type report struct {
	URL      string    `json:"url"`
	Status   int       `json:"status"`
	Location string    `json:"location,omitempty"`
	Protocol string    `json:"protocol"`
	TLS      string    `json:"tls"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Expires  time.Time `json:"expires"`
}

// fetcher asks other servers. It asks whomever it is told to, those of the machine's own network too: keep it from
// people whom you do not trust.
type fetcher struct {
	client *http.Client
}

func newFetcher() *fetcher {
	return &fetcher{&http.Client{
		Timeout: 10 * time.Second,
		// A redirection is reported, not followed: it may lead away from TLS.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (f *fetcher) fetch(ctx context.Context, address string) (*report, error) {
	target, err := httpsURL(address)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, failure{http.StatusBadRequest, err.Error()}
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, explained(err, target.Hostname())
	}
	defer response.Body.Close()
	leaf := response.TLS.PeerCertificates[0]
	return &report{
		URL:      target.Redacted(),
		Status:   response.StatusCode,
		Location: response.Header.Get("Location"),
		Protocol: response.Proto,
		TLS:      tls.VersionName(response.TLS.Version),
		Subject:  leaf.Subject.String(),
		Issuer:   leaf.Issuer.String(),
		Expires:  leaf.NotAfter,
	}, nil
}

func httpsURL(address string) (*url.URL, error) {
	if address == "" {
		return nil, failure{http.StatusBadRequest, "no address: ask for /fetch?url=https://..."}
	}
	target, err := url.Parse(address)
	if err != nil {
		return nil, failure{http.StatusBadRequest, fmt.Sprintf("%q is no address", address)}
	}
	if target.Scheme != "https" || target.Hostname() == "" {
		return nil, failure{http.StatusBadRequest, fmt.Sprintf("%q does not begin with https:// and a host", address)}
	}
	return target, nil
}

// explained says what went wrong between here and host.
func explained(err error, host string) failure {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return failure{http.StatusBadGateway, fmt.Sprintf("the certificate of %s is from an authority that is not "+
			"known here; SSL_CERT_FILE names a file of those that are", host)}
	}
	if os.IsTimeout(err) {
		return failure{http.StatusGatewayTimeout, host + " did not answer in time"}
	}
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return failure{http.StatusBadGateway, fmt.Sprintf("cannot ask %s: %v", host, err)}
}
