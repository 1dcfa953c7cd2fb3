#include "csv.h"

#include <stdlib.h>
#include <string.h>

void csv_open(struct csv *csv, FILE *file) {
    memset(csv, 0, sizeof *csv);
    csv->file = file;
}

void csv_close(struct csv *csv) {
    free(csv->bytes);
    free(csv->starts);
}

const char *csv_field(const struct csv *csv, size_t index) {
    return csv->bytes + csv->starts[index];
}

static int fail(struct csv *csv, const char *error) {
    csv->error = error;
    return -1;
}

// `items` with room for `wanted` of `size` bytes each, or NULL and `items` as it was.
static void *grow(void *items, size_t *capacity, size_t wanted, size_t size) {
    if (wanted <= *capacity) {
        return items;
    }
    size_t larger = *capacity ? *capacity * 2 : 64;
    void *moved = realloc(items, larger * size);
    if (moved) {
        *capacity = larger;
    }
    return moved;
}

static int put(struct csv *csv, int byte) {
    char *bytes = grow(csv->bytes, &csv->capacity, csv->length + 1, 1);
    if (!bytes) {
        return 0;
    }
    csv->bytes = bytes;
    csv->bytes[csv->length++] = (char)byte;
    return 1;
}

static int begin_field(struct csv *csv) {
    size_t *starts = grow(csv->starts, &csv->starts_capacity, csv->count + 1, sizeof *starts);
    if (!starts) {
        return 0;
    }
    csv->starts = starts;
    csv->starts[csv->count++] = csv->length;
    return 1;
}

// Reads the rest of a quoted field and gives the byte after its closing quote, or -2 with `error` set.
static int quoted(struct csv *csv) {
    for (;;) {
        int byte = getc(csv->file);
        if (byte == '"') {
            byte = getc(csv->file);
            if (byte != '"') {
                return byte;
            }
        } else if (byte == EOF) {
            fail(csv, "a quote is not closed");
            return -2;
        } else if (byte == '\n') {
            csv->line++;
        }
        if (!put(csv, byte)) {
            fail(csv, "out of memory");
            return -2;
        }
    }
}

int csv_next(struct csv *csv) {
    csv->length = csv->count = 0;
    csv->line++;
    int byte = getc(csv->file);
    if (byte == EOF) {
        return ferror(csv->file) ? fail(csv, "cannot read") : 0;
    }
    for (;;) {
        if (!begin_field(csv)) {
            return fail(csv, "out of memory");
        }
        if (byte == '"' && (byte = quoted(csv)) == -2) {
            return -1;
        }
        while (byte != ',' && byte != '\n' && byte != EOF) {
            if (byte != '\r' && !put(csv, byte)) {
                return fail(csv, "out of memory");
            }
            byte = getc(csv->file);
        }
        if (!put(csv, '\0')) {
            return fail(csv, "out of memory");
        }
        if (byte != ',') {
            return ferror(csv->file) ? fail(csv, "cannot read") : 1;
        }
        byte = getc(csv->file);
    }
}
