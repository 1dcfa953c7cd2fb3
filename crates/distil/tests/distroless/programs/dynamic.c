/* A dynamic C program: accounts, services, time zones, character sets. */
#include <iconv.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct passwd *account = getpwuid(getuid());
    struct servent *service = getservbyname("https", "tcp");
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    if (!account || strcmp(account->pw_name, "nonroot") || !service || strcmp(tzname[0], "JST")
        || iconv_open("UTF-8", "SHIFT_JIS") == (iconv_t)-1) {
        return 1;
    }
    puts("c is well");
    return 0;
}
