// Command start-database is the first process of the database image. It prepares an empty data folder, and then
// runs mariadbd until a signal stops it.
//
//	start-database          prepare if need be, and run
//	start-database health   ask whether the server answers; exit code 0 or 1
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	server   = "/usr/sbin/mariadbd"
	settings = "--defaults-file=/etc/mysql/three-tier.cnf"
	volume   = "/var/lib/mysql"
)

// All that is read below stays in this folder of the volume, so that it can appear in one step.
var dataDir = filepath.Join(volume, "data")

func main() {
	log.SetFlags(0)
	log.SetPrefix("database: ")
	port, err := port()
	if err == nil {
		if len(os.Args) > 1 && os.Args[1] == "health" {
			err = health(port)
		} else {
			err = run(port)
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		log.Printf("mariadbd has ended: %v", exit)
		os.Exit(exitCode(exit))
	}
	if err != nil {
		log.Fatal(err)
	}
}

func port() (int, error) {
	text := os.Getenv("PORT")
	if text == "" {
		return 3307, nil
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, fmt.Errorf("PORT is `%s`, which is no port number", text)
	}
	return port, nil
}

func run(port int) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := portIsFree(port); err != nil {
		return err
	}
	folder, err := lock(volume)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := prepare(stop); err != nil {
		if stop.Err() != nil {
			return errors.New("stopped while the data folder was being prepared; the next start begins anew")
		}
		return err
	}
	return serve(stop, port)
}

// mariadbd finds that out late, and says it in many lines.
func portIsFree(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is in use by another program; set PORT to a free one", port)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on port %d: %w", port, err)
	}
	return listener.Close()
}

// lock keeps a second database out of the folder for as long as this process lives, however it ends.
func lock(path string) (*os.File, error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("no data folder: %w", err)
	}
	err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("`%s` is in use by another database", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock `%s`: %w", path, err)
	}
	return folder, nil
}

// serve stays the parent of mariadbd, which does not heed Ctrl-C: both signals become the one that it does.
func serve(stop context.Context, port int) error {
	mariadbd := command(fmt.Sprintf("--port=%d", port))
	mariadbd.Stdout, mariadbd.Stderr = os.Stdout, os.Stderr
	if err := mariadbd.Start(); err != nil {
		return fmt.Errorf("cannot start mariadbd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mariadbd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
		log.Print("stopping")
		_ = mariadbd.Process.Signal(syscall.SIGTERM) // fails only when it has ended already
		return <-ended
	}
}

// command is mariadbd without the environment of this process, which has a password in it. When this process is
// killed, so is mariadbd.
func command(args ...string) *exec.Cmd {
	mariadbd := exec.Command(server, append([]string{settings}, args...)...)
	mariadbd.Env = []string{"TZ=UTC"}
	mariadbd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return mariadbd
}

func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// health reads the greeting that a MySQL server sends first: a length of 3 bytes, a number, and its protocol, 10.
func health(port int) error {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 2*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	greeting := make([]byte, 5)
	_ = connection.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.ReadFull(connection, greeting); err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	if greeting[4] != 10 {
		return errors.New("the server refuses connections")
	}
	return nil
}
