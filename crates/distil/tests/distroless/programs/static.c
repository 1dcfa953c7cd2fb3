/* A static C program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(void) {
    FILE *temporary = tmpfile();
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    if (!temporary || strcmp(tzname[0], "JST")) {
        return 1;
    }
    puts("static c is well");
    return 0;
}
