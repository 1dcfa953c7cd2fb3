#!/bin/sh
# Makes the archive that the tests read, with new keys: needs dpkg-deb, gpg, xz.
set -eu
cd "$(dirname "$0")"
rm -rf archive keys releases
mkdir -p archive/pool archive/dists/test/main/binary-amd64/by-hash/SHA256 keys releases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GNUPGHOME="$work/gnupg" SOURCE_DATE_EPOCH=1700000000
mkdir -m 700 "$GNUPGHOME"
gpg="gpg --batch --quiet --pinentry-mode loopback --passphrase="

# Keys, all made on 2023-11-01: good (with a signing subkey), short (expires after
# 100 days), revoked (good until it was revoked), and one that only certifies.
key() { # name usage expiry
  $gpg --faked-system-time 20231101T000000! --quick-gen-key "$1 <$1@example.invalid>" ed25519 "$2" "$3"
}
fingerprint() { gpg --batch --with-colons --list-keys "$1" | awk -F: '/^fpr/ { print $10; exit }'; }
key good cert 0
$gpg --faked-system-time 20231101T000000! --quick-add-key "$(fingerprint good)" ed25519 sign 20y
key short sign 100d
key revoked sign 0
key other sign 0
for name in good short revoked other; do gpg --export "$name" > "keys/$name.gpg"; done

# Packages: gzip, xz and zstd; a conffile, links, a virtual package.
package() { # name compression control-lines
  mkdir -p "$work/$1/DEBIAN"
  printf 'Package: %s\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: T <t@example.invalid>\n%sDescription: test\n' "$1" "$3" > "$work/$1/DEBIAN/control"
  find "$work/$1" -exec touch -h -d @1600000000 {} +
  dpkg-deb --root-owner-group -Z"$2" -b "$work/$1" "archive/pool/$1.deb" > /dev/null
}
mkdir -p "$work/app/etc/app" "$work/app/usr/bin" "$work/app/bin" "$work/app/usr/share/doc/app" "$work/app/DEBIAN"
echo setting > "$work/app/etc/app/app.conf"
echo /etc/app/app.conf > "$work/app/DEBIAN/conffiles"
printf '#!/bin/sh\necho app\n' > "$work/app/usr/bin/app"; chmod 4755 "$work/app/usr/bin/app"
ln "$work/app/usr/bin/app" "$work/app/usr/bin/app-hard"; ln -s app "$work/app/bin/app-soft"
echo licence > "$work/app/usr/share/doc/app/copyright"; echo news > "$work/app/usr/share/doc/app/NEWS"
printf 'interest-noawait /usr/share/app\ninterest app-trigger\n' > "$work/app/DEBIAN/triggers"
printf '#!/bin/sh\nexit 0\n' > "$work/app/DEBIAN/postinst"; chmod 755 "$work/app/DEBIAN/postinst"
package app xz 'Depends: libv (>= 1), data
Multi-Arch: same
'
mkdir -p "$work/libv1/lib"; echo library > "$work/libv1/lib/libv.so.1"
package libv1 zstd 'Provides: libv (= 1.0)
'
mkdir -p "$work/data/usr/share/app"; head -c 20000 /dev/zero | tr '\0' x > "$work/data/usr/share/app/data"
package data gzip 'Essential: yes
'

(cd archive && for deb in pool/*.deb; do
  dpkg-deb -f "$deb"
  printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done) > "$work/Packages"
index=archive/dists/test/main/binary-amd64/Packages.xz
xz -9 -c "$work/Packages" > "$index"
hash=$(sha256sum "$index" | cut -d' ' -f1)
cp "$index" "archive/dists/test/main/binary-amd64/by-hash/SHA256/$hash"

release() { # date
  printf 'Suite: stable\nCodename: test\nDate: %s\nValid-Until: Sat, 01 Jan 2028 00:00:00 UTC\nAcquire-By-Hash: yes\nArchitectures: amd64 arm64\nComponents: main\nSHA256:\n %s %s main/binary-amd64/Packages.xz\n' \
    "$1" "$hash" "$(stat -c %s "$index")"
}
sign() { # key date-of-signature
  $gpg --faked-system-time "$2!" --local-user "$1" --digest-algo SHA512 --clearsign
}
release 'Sat, 02 Dec 2023 00:00:00 UTC' > "$work/Release"
sign good 20231202T000000 < "$work/Release" > archive/dists/test/InRelease
for name in short revoked other; do sign "$name" 20231202T000000 < "$work/Release" > "releases/$name"; done
$gpg --faked-system-time 20231202T000000! --local-user good --digest-algo SHA1 --clearsign < "$work/Release" > releases/weak || :
release 'Fri, 01 Dec 2023 00:00:00 UTC' | sign good 20231201T000000 > releases/older
# The revocation is published after the signatures were made.
sed 's/^:---/---/' "$GNUPGHOME/openpgp-revocs.d/$(fingerprint revoked).rev" > "$work/revocation"
gpg --batch --quiet --import "$work/revocation"
gpg --export revoked > keys/revoked.gpg
