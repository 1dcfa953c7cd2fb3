// Reads CSV as RFC 4180 describes it: fields may be quoted and then hold commas, quotes ("") and line ends.
#ifndef CSV_H
#define CSV_H

#include <stddef.h>
#include <stdio.h>

struct csv {
    FILE *file;
    char *bytes;      // the fields of the record, each ended by a zero
    size_t length, capacity;
    size_t *starts;   // where each field begins in `bytes`
    size_t count, starts_capacity;
    size_t line;      // the line that is read, from 1
    const char *error;
};

void csv_open(struct csv *csv, FILE *file);
void csv_close(struct csv *csv);

// Reads the next record: 1 if there is one, 0 at the end of the file, -1 with `error` set.
int csv_next(struct csv *csv);

// A field of the last record; `index` is below `count`. It lives until the next call of csv_next.
const char *csv_field(const struct csv *csv, size_t index);

#endif
