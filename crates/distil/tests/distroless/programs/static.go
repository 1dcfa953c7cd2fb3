// A static Go program: certificates, time zones, accounts, services, types of files.
package main

import (
	"crypto/x509"
	"fmt"
	"mime"
	"net"
	"os"
	"os/user"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pool, err := x509.SystemCertPool()
	check(err)
	for _, zone := range []string{"Asia/Tokyo", "US/Pacific"} {
		_, err := time.LoadLocation(zone)
		check(err)
	}
	account, err := user.Current()
	check(err)
	port, err := net.LookupPort("tcp", "https")
	check(err)
	file, err := os.CreateTemp("", "x")
	check(err)
	check(file.Close())
	if len(pool.Subjects()) < 130 || account.Username != "nonroot" || port != 443 || mime.TypeByExtension(".webp") != "image/webp" {
		panic("something is missing")
	}
	fmt.Println("go is well")
}
