package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What makes the system tables, as `mariadb-install-db` runs it, but for the help texts and the test database.
var systemTables = []string{
	"/usr/share/mysql/mysql_system_tables.sql",
	"/usr/share/mysql/mysql_performance_tables.sql",
	"/usr/share/mysql/mysql_system_tables_data.sql",
}

var name = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// account is the database that is made, and who may use it.
type account struct {
	database, user, password string
}

// prepare makes the data folder when there is none yet. It grows under another name, which the last step changes:
// whatever ends this process before that, the next start finds no data folder and begins anew.
func prepare(stop context.Context) error {
	temporary := filepath.Join(volume, "tmp")
	if err := os.MkdirAll(temporary, 0o700); err != nil {
		return fmt.Errorf("`%s` must be a volume that user %d can write to: %w", volume, os.Getuid(), err)
	}
	if _, err := os.Stat(dataDir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	account, err := accountFromEnvironment()
	if err != nil {
		return err
	}
	log.Print("preparing the data folder")
	growing := filepath.Join(volume, "preparing")
	if err := os.RemoveAll(growing); err != nil {
		return err
	}
	if err := os.Mkdir(growing, 0o700); err != nil {
		return err
	}
	if err := bootstrap(stop, growing, account); err != nil {
		return err
	}
	if err := sync(growing); err != nil {
		return err
	}
	if err := os.Rename(growing, dataDir); err != nil {
		return err
	}
	return syncFile(volume)
}

// bootstrap lets mariadbd run SQL on a data folder, with no other connection possible.
func bootstrap(stop context.Context, folder string, account account) error {
	var script strings.Builder
	// Root may come in through the socket alone, where its user can be seen: in this image that is nobody.
	script.WriteString("SET @auth_root_socket='root';\nCREATE DATABASE mysql;\nUSE mysql;\n")
	for _, path := range systemTables {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		script.Write(text)
		script.WriteByte('\n')
	}
	script.WriteString(account.sql())
	var output bytes.Buffer
	mariadbd := command("--bootstrap", "--datadir="+folder)
	mariadbd.Stdin = strings.NewReader(script.String())
	mariadbd.Stdout, mariadbd.Stderr = &output, &output
	if err := mariadbd.Start(); err != nil {
		return fmt.Errorf("cannot start mariadbd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mariadbd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the data folder could not be prepared (%v):\n%s", err, output.String())
		}
		return nil
	case <-stop.Done():
		_ = mariadbd.Process.Kill() // what it has made so far is removed by the next start
		<-ended
		return stop.Err()
	}
}

func (a account) sql() string {
	return fmt.Sprintf("DELETE FROM proxies_priv;\nFLUSH PRIVILEGES;\n"+
		"CREATE DATABASE %[1]s;\n"+
		"CREATE USER %[2]s@'%%' IDENTIFIED BY PASSWORD '%[3]s';\n"+
		"GRANT ALL ON %[1]s.* TO %[2]s@'%%';\n", "`"+a.database+"`", "`"+a.user+"`", passwordHash(a.password))
}

// passwordHash is what mysql_native_password stores: the server never sees the password, nor does its log.
func passwordHash(password string) string {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return fmt.Sprintf("*%X", twice)
}

// accountFromEnvironment reads the variables of the official MariaDB image.
func accountFromEnvironment() (account, error) {
	var made account
	for variable, field := range map[string]*string{
		"MARIADB_DATABASE": &made.database,
		"MARIADB_USER":     &made.user,
	} {
		*field = os.Getenv(variable)
		if !name.MatchString(*field) {
			return made, fmt.Errorf("%s is `%s`: set it to at most 32 letters, digits and `_`", variable, *field)
		}
	}
	made.password = os.Getenv("MARIADB_PASSWORD")
	if path := os.Getenv("MARIADB_PASSWORD_FILE"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return made, fmt.Errorf("MARIADB_PASSWORD_FILE: %w", err)
		}
		made.password = strings.TrimRight(string(text), "\r\n")
	}
	if made.password == "" {
		return made, errors.New("no password: set MARIADB_PASSWORD, or MARIADB_PASSWORD_FILE to a file that has it")
	}
	return made, nil
}

// sync writes every file and folder below path to the disk.
func sync(path string) error {
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}
