#!/bin/bash
# Runs the database and the program in one container, for Dockerfile.single.
set -eu
export DATABASE_PORT=${DATABASE_PORT:-3307} DATABASE_PASSWORD=${DATABASE_PASSWORD:-todos}

install -d -o mysql /run/mysqld
mariadbd --user=mysql --port="$DATABASE_PORT" --bind-address=127.0.0.1 &
database=$!
stop() {
    kill "${java:-}" "$database" 2>/dev/null || true
    wait
}
trap stop EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

for _ in $(seq 60); do
    mariadb-admin ping --silent 2>/dev/null && break
    kill -0 "$database" || { echo "the database has ended" >&2; exit 1; }
    sleep 0.5
done
mariadb <<SQL
CREATE DATABASE IF NOT EXISTS todos;
CREATE USER IF NOT EXISTS todos@localhost IDENTIFIED BY '$DATABASE_PASSWORD';
GRANT ALL ON todos.* TO todos@localhost;
SQL

java -jar back/target/back.jar &
java=$!
wait -n "$java" "$database" # when one of them ends, so does the container
