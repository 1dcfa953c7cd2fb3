// query: asks a CSV table on standard input in SQL, and prints the answer as CSV.
//
//     query "SELECT city, sum(amount) FROM data GROUP BY city" <sales.csv
//
// The first line of the table names its columns.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"

static int complain(const char *what) {
    fprintf(stderr, "query: %s\n", what);
    return 0;
}

// "CREATE TABLE data (...)" for the columns of the header; the caller frees it.
static char *create_statement(const struct csv *header) {
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "CREATE TABLE data (");
    for (size_t i = 0; i < header->count; i++) {
        sqlite3_str_appendf(sql, "%s\"%w\" NUMERIC", i ? ", " : "", csv_field(header, i));
    }
    sqlite3_str_appendall(sql, ")");
    return sqlite3_str_finish(sql);
}

// "INSERT INTO data VALUES (?, ...)"; the caller frees it.
static char *insert_statement(size_t columns) {
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "INSERT INTO data VALUES (?");
    for (size_t i = 1; i < columns; i++) {
        sqlite3_str_appendall(sql, ", ?");
    }
    sqlite3_str_appendall(sql, ")");
    return sqlite3_str_finish(sql);
}

static int insert_records(sqlite3 *db, sqlite3_stmt *insert, struct csv *csv, size_t columns) {
    int more;
    while ((more = csv_next(csv)) == 1) {
        if (csv->count != columns) {
            fprintf(stderr, "query: line %zu has another number of fields (%zu) than the header (%zu)\n", csv->line,
                    csv->count, columns);
            return 0;
        }
        for (size_t i = 0; i < columns; i++) {
            sqlite3_bind_text(insert, (int)i + 1, csv_field(csv, i), -1, SQLITE_STATIC);
        }
        if (sqlite3_step(insert) != SQLITE_DONE) {
            return complain(sqlite3_errmsg(db));
        }
        sqlite3_reset(insert);
    }
    if (more < 0) {
        fprintf(stderr, "query: line %zu: %s\n", csv->line, csv->error);
    }
    return more == 0;
}

static int load(sqlite3 *db, struct csv *csv) {
    int first = csv_next(csv);
    if (first != 1) {
        return complain(first ? csv->error : "no table on standard input");
    }
    size_t columns = csv->count;
    char *create = create_statement(csv);
    char *insert = insert_statement(columns);
    sqlite3_stmt *statement = NULL;
    int loaded;
    if (!create || !insert) {
        loaded = complain("out of memory");
    } else if (sqlite3_exec(db, create, NULL, NULL, NULL) != SQLITE_OK ||
               sqlite3_prepare_v2(db, insert, -1, &statement, NULL) != SQLITE_OK) {
        loaded = complain(sqlite3_errmsg(db));
    } else {
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
        loaded = insert_records(db, statement, csv, columns);
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    }
    sqlite3_finalize(statement);
    sqlite3_free(insert);
    sqlite3_free(create);
    return loaded;
}

static void print_field(const char *text, int last) {
    if (text && strpbrk(text, ",\"\r\n")) {
        putchar('"');
        for (; *text; text++) {
            if (*text == '"') {
                putchar('"');
            }
            putchar(*text);
        }
        putchar('"');
    } else if (text) {
        fputs(text, stdout);
    }
    putchar(last ? '\n' : ',');
}

static int answer(sqlite3 *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
        return complain(sqlite3_errmsg(db));
    }
    if (!statement) {
        return complain("an empty statement");
    }
    int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; i++) {
        print_field(sqlite3_column_name(statement, i), i == columns - 1);
    }
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            print_field((const char *)sqlite3_column_text(statement, i), i == columns - 1);
        }
    }
    if (step != SQLITE_DONE) {
        complain(sqlite3_errmsg(db));
    }
    sqlite3_finalize(statement);
    return step == SQLITE_DONE;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: query SQL <TABLE.csv    (the table is called `data`)\n");
        return 2;
    }
    sqlite3 *db;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) {
        complain(sqlite3_errmsg(db));
        return 1;
    }
    struct csv csv;
    csv_open(&csv, stdin);
    int done = load(db, &csv) && answer(db, argv[1]);
    csv_close(&csv);
    sqlite3_close(db);
    if (fflush(stdout) == EOF || ferror(stdout)) {
        done = complain("cannot write the answer");
    }
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
